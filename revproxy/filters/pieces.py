"""What several patterns of :mod:`revproxy.filters.rules` have in common, or what is long in one.

Rules of this module: each piece is a pattern that can stand anywhere in another, written as those are.
"""

from __future__ import annotations

SQL_WORDS = (
    r"(?:drop (?:table|database|view|user|schema|index|procedure)|insert into|update [a-z_.]{1,40} set|delete from"
    r"|alter (?:table|user|database)|create (?:table|user|database|function|procedure)|truncate table"
    r"|shutdown ?(?:;|-|with|$)|exec(?:ute)? ?(?:\(|@|'|[a-z]{2,10}_|master|immediate)|declare @|copy ?\(|waitfor )"
)
SQL_END = r" ?(?:--|#|/\*|;|$)"
SQL_CALLS = r"(?:char|ascii|ord|hex|length|len|substring|substr|mid|database|user|version|chr)"
SQL_FUNCTIONS = (
    r"group_concat ?\(|concat ?\( ?0x|\bchar ?\([0-9]{1,3}[,)]|\bascii ?\( ?(?:lower|substr|\(|mid)"
    r"|substr(?:ing)? ?\( ?\(|convert ?\( ?int|cast ?\( ?\( ?select|json_keys ?\(|procedure analyse|sysdate ?\( ?\)"
)

# Commands that say enough by themselves; then those that do with an argument.
COMMAND = (
    r"(?:(?:whoami|uname|ifconfig|ipconfig|nslookup|systeminfo|netstat|printenv|busybox|tasklist|mkfifo|phpinfo)\b"
    r"|cat(?: ?[<,] ?| )[/.$~*?]|ls(?: -[a-z]| /| ?[;|&`)])|env ?\| ?(?:grep|sort|tee|base64|nc|curl)\b|dir(?: /| [a-z]:)"
    r"|type [a-z]:[/\\]|sleep [0-9.]{1,6}[smhd]? ?(?:$|[;|&`)#'\"}])|ping (?:-[a-z] |[0-9]{1,3}\.)|curl[ +](?:-|http|\$|`|[a-z0-9-]{1,24}\.[a-z])"
    r"|wget (?:-|http|[a-z0-9-]{1,24}\.[a-z])|n(?:et)?c(?:at)? (?:-|[0-9a-z.]{1,24} [0-9])|telnet [0-9a-z.-]{1,24} [0-9]"
    r"|(?:ba|z|k|c|da)?sh (?:-[ic]|/|<)|(?:python[0-9.]{0,4}|perl|ruby|php|node|lua) -[a-z]|rm -[rf]|chmod [0-7+]"
    r"|chown [a-z]{1,20}[: ]|net (?:user|localgroup|share|view)|echo [^;|]{1,40}\||base64 -d|powershell[. ]|cmd(?:\.exe)? ?/[ck]"
    r"|printf '|getent [a-z]|set /a |tar -?[a-z]{0,3}[cxz][a-z]{0,3} |find [^;|]{1,12} -(?:exec|name|perm)"
    r"|(?:head|tail|tac|nl|od|xxd|less|more|strings|base64|sort|g?zcat|gunzip -c|zstdcat|bzcat|xzcat) /(?:etc|var|proc|home|root|opt|usr)/|ps (?:aux|-e)|crontab -|tftp |sudo -|shutdown -|kill -9)"
)
# Commands that are also names of columns, and said in prose: ``name;id;price``, ``dev|env|prod``, "(name; id)",
# ``/list?a=1&id``. What stands before and after has to be what lists, prose and links have not.
_WORD = r"(?:id|env|set|dir|hostname|reboot)"
_LAST = r" ?(?:$|[;|&`#] ?(?:$|[^a-z0-9 ]))"
BARE = (
    rf"^[a-z][;|]{_WORD}{_LAST}|^[^a-z=?\x80-\xff]{{0,40}}[;|&] ?{_WORD}{_LAST}|(?:&&|\|\|) ?{_WORD}{_LAST}|['\")\]/%>][;|&] ?{_WORD}{_LAST}"
    rf"|/(?:[0-9]{{1,12}}|[a-z0-9_-]{{1,40}}\.[a-z]{{2,4}})[;|] ?{_WORD}{_LAST}"
    rf"|\.[0-9]{{1,3}}\.[0-9]{{1,3}} ?[;|&] ?{_WORD}{_LAST}|[;|&] ?{_WORD} ?[;|&][./#$`\\]"
    rf"|[$<>]\( ?{_WORD} ?(?:$|[;|&`)])|(?:[|&]|(?:^|[^p]);|\| |[^a-z ][;&] |^[;&] )ls ?$"
)
BIN = r"/(?:usr/)?s?bin/(?:(?:ba|da|z|k|c)?sh|cat|id|ls|nc|curl|wget|python[0-9]?|perl|whoami|ping|uname)\b"

HANDLER = (
    r"on(?:mouse|key|pointer|touch|drag|drop|focus|blur|load|unload|error|click|dblclick|change|submit|reset|select|input"
    r"|toggle|begin|end|repeat|start|finish|bounce|animation|transition|play|pause|page|hash|popstate|message|wheel|scroll"
    r"|resize|copy|cut|paste|search|show|invalid|before|after|abort|can|duration|progress|seek|stalled|time|volume|waiting"
    r"|context|auxclick|activate|readystate)[a-z]{0,16} ?= ?[^ ={]"
)

DOTFILES = (
    r"env|git|svn|hg|bzr|ds_store|htaccess|htpasswd|aws|ssh|bash_history|bashrc|npmrc|pypirc|vscode|idea|docker|"
    r"dockerenv|dockercfg|kube|terraform|netrc|pgpass|my\.cnf|mysql_history|s3cfg|gitignore|gitlab-ci|travis|circleci"
)
SOURCES = r"(?:php[0-9]?|aspx?|jsp|py|rb|js|conf|config|cfg|ini|ya?ml|xml|html?|env)"

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
    r"|cat(?: ?[<,] ?| )[/.$~*?]|ls(?: -[a-z]| /| ?[;|&`)])|id ?[;|&`)]|env ?[|;]|dir(?: /| [a-z]:)"
    r"|type [a-z]:[/\\]|sleep [0-9]|ping (?:-[a-z] |[0-9]{1,3}\.)|curl[ +](?:-|http|\$|`|[a-z0-9-]{1,24}\.[a-z])"
    r"|wget (?:-|http|[a-z0-9-]{1,24}\.[a-z])|n(?:et)?c(?:at)? (?:-|[0-9a-z.]{1,24} [0-9])|telnet [0-9a-z.-]{1,24} [0-9]"
    r"|(?:ba|z|k|c|da)?sh (?:-[ic]|/|<)|(?:python[0-9.]{0,4}|perl|ruby|php|node|lua) -[a-z]|rm -[rf]|chmod [0-7+]"
    r"|chown [a-z]{1,20}[: ]|net (?:user|localgroup|share|view)|echo [^;|]{1,40}\||base64 -d|powershell[. ]|cmd(?:\.exe)? ?/[ck]"
    r"|hostname ?[;|&`)]|printf '|getent [a-z]|set /a |tar -?[a-z]{0,3}[cxz][a-z]{0,3} |find [^;|]{1,12} -(?:exec|name|perm)"
    r"|(?:head|tail|tac|nl|od|xxd|less|more|strings|base64|sort|g?zcat|gunzip -c|zstdcat|bzcat|xzcat) /(?:etc|var|proc|home|root|opt|usr)/|ps (?:aux|-e)|crontab -|tftp |sudo -|shutdown -|kill -9)"
)
#: What is also said in prose, so that it has to stand right after what prose has not.
BARE = r"(?:ls|id|env|set|dir|hostname|reboot) ?$"
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

"""The built-in rules, as data.

Rules of this module:

* a number stays with its rule for ever; thousands are the kind of attack, and numbers from 10000 on are the operator's;
* patterns are written for what :func:`revproxy.filters.decode.forms` gives: decoded, in lower case, one space for
  any white space (a form with it as it came is looked at, too);
* every repetition has a bound, so that each pattern is linear (:mod:`revproxy.filters.linear`);
* ``needs`` are literals of which every match has at least one: texts without any are never searched.
"""

from __future__ import annotations

from attrs import frozen

from revproxy.filters.pieces import BARE, BIN, COMMAND, DOTFILES, HANDLER, SOURCES, SQL_CALLS, SQL_FUNCTIONS, SQL_WORDS

# Where a text was found; a rule says where it looks.
PATH, QUERY, COOKIES, HEADERS, AGENT, BODY, FILES = (1 << bit for bit in range(7))
#: As they are written in a configuration.
PLACES = {
    "path": PATH, "query": QUERY, "cookies": COOKIES, "headers": HEADERS, "agent": AGENT, "body": BODY, "files": FILES,
}  # fmt: skip
_ALL = PATH | QUERY | COOKIES | HEADERS | AGENT | BODY | FILES
_LINES = PATH | QUERY | COOKIES

CRITICAL, ERROR, WARNING, NOTICE = 5, 4, 3, 2

#: Numbers of the operator's own rules begin here.
OWN = 10000


@frozen
class Rule:
    """One rule. :param places: bits of where it looks. :param level: the least ``paranoia`` that it is used at."""

    id: int
    name: str
    score: int
    pattern: str
    needs: tuple[str, ...]
    places: int = _ALL
    level: int = 1


RULES: tuple[Rule, ...] = (
    # -- 1000: the message itself
    Rule(1001, "null-byte", CRITICAL, r"\x00", ("\x00",), _ALL & ~AGENT),
    Rule(
        1002, "overlong-utf-8", WARNING,
        r"\xc0[\x80\xae\xaf\xa7\xa2\xbc\xbe]|\xc1\x9c|\xe0\x80[\x80-\xbf]|\xf0\x80[\x80-\xbf]",
        ("\xc0", "\xc1\x9c", "\xe0\x80", "\xf0\x80"),
    ),
    Rule(1003, "coded-twice", NOTICE, r"%(?:25){0,3}(?:2e|2f|5c|00|3c|27|0d|0a|u[0-9a-f]{4})", ("%",), PATH | QUERY | BODY),
    Rule(
        1004, "response-splitting", CRITICAL,
        r"[\r\n] ?(?:set-cookie2?|location|content-(?:length|type|disposition|encoding)|x-[a-z-]{2,30}|refresh|host|link"
        r"|access-control-[a-z-]{5,30}|transfer-encoding|clear-site-data|bcc|cc|to|rcpt to|mail from) ?:|[\r\n][a-z][0-9]{3} (?:capability|fetch|list|login|logout|select) ?",
        ("\r", "\n"), _LINES,
    ),
    Rule(1005, "header-in-body", CRITICAL, r"[\r\n](?:set-cookie2?|bcc) ?: ?[^ ]", ("set-cookie", "bcc:", "bcc :"), BODY),
    Rule(1006, "response-in-parameter", CRITICAL, r"[\r\n]http/[0-2](?:\.[0-9])? [1-5][0-9][0-9]", ("http/",)),
    # -- 1100: files that are nobody's business
    Rule(
        1101, "path-traversal", CRITICAL, r"^[^ '\"<>(\n]{0,100}(?:\.{2,4}[/\\]{1,4}){2}|\.\.;/|(?:\.{2,4}[/\\]{1,4}){4}",
        ("../", "..\\", "..;/"),
    ),
    Rule(1102, "path-traversal-coded", CRITICAL, r"\.\.(?:%(?:25){0,2}(?:2f|5c)|%c0%(?:af|2f|5c)|%c1%9c|%u(?:2215|2216|efc8|f025))|(?:%c0)?%2e%c0%2e|\xc0\.\xc0\.",
         ("..%", "%2e%c0%2e", "\xc0.\xc0.")),
    Rule(
        1103, "system-file", CRITICAL,
        r"/etc/(?:passwd|shadow|group|gshadow|sudoers|issue|cron\.d/|master\.passwd)\b|/proc/(?:version$|cpuinfo$|(?:self|[0-9]{1,6})/(?:environ|cmdline|fd/|maps|stat|root|exe|cwd|mounts|task))"
        r"|\bboot\.ini\b|\bwin\.ini\b|[/\\]system\.ini\b|drivers[/\\]etc[/\\](?:hosts|services|networks)\b|inetpub[/\\]wwwroot[/\\]|[a-z]\$[/\\]users[/\\]|config[/\\]sam\b|(?:web|meta)-inf/"
        r"|/\.ssh/(?:id_|authorized|known_)|\.bash_history\b|\bid_(?:rsa|dsa|ed25519)\b|usr/local/lib/php|\.htpasswd\b|/\.aws/credentials",
        ("/etc/", "/proc/", ".ini", "drivers\\etc", "drivers/etc", "inetpub/", "inetpub\\", "$\\users", "$/users", "\\sam", "/sam", "-inf/", "/.ssh/", "_history", "id_rsa",
         "id_dsa", "id_ed25519", "local/lib/php", ".htpasswd", "/.aws/"),
    ),
    Rule(
        1104, "system-path", CRITICAL, r"^(?:file:/{0,3})?[./\\]{0,60}(?:etc/hosts|var/log/[a-z0-9/.-]{3,60})$|^(?:file:/{0,2})?/etc/(?:\./)?(?:hosts|services|hostname|fstab|crontab|resolv\.conf|passwd|ssh/[a-z0-9_]{1,40}|(?:nginx|apache2|httpd|mysql|php)/[a-z0-9/._-]{1,60})$",
        ("etc/hosts", "/etc/", "var/log/"),
    ),
    # -- 1200: paths that scanners ask for
    Rule(
        1201, "hidden-file", CRITICAL, rf"/\.(?:{DOTFILES})(?:$|[/._~-])|/\.profile(?:$|[/~])|/\.[^/]{{1,60}}\.sw[op]$", ("/.",), PATH,
    ),
    Rule(
        1202, "backup-file", CRITICAL,
        rf"\.{SOURCES}(?:~|\.(?:bak|old|orig|save|sw[op]|tmp|copy|backup|[0-9]))$|\.(?:bak|sw[op]|mdb)$"
        r"|\.sqlite3?$|\.sql(?:\.(?:gz|zip|bz2|xz|7z|tar))?$"
        r"|/(?:backup|dump|database|db|www|site|htdocs|wwwroot|public_html)s?[0-9_-]{0,16}\.(?:zip|tar|gz|tgz|rar|7z|bz2)(?:\.gz)?$"
        r"|/wp-config\.(?:old|bak|txt|save)",
        ("~", ".bak", ".old", ".orig", ".save", ".sw", ".tmp", ".copy", ".backup", ".mdb", ".sql", ".zip", ".tar", ".gz",
         ".tgz", ".rar", ".7z", ".bz2", ".php.", ".js.", ".conf", ".xml.", ".htm", ".ini.", ".y", ".env.", ".py.", ".asp",
         ".jsp.", ".rb.", ".cfg.", "wp-config."),
        PATH,
    ),
    Rule(
        1203, "administration", CRITICAL,
        r"/server-(?:status|info)$|/(?:phpinfo|info|php|pi|test)\.php$|/phpmyadmin/|/web\.config$|/actuator/(?:env|heapdump"
        r"|threaddump|gateway|jolokia|mappings|beans|configprops|logfile|trace|shutdown|refresh|dump)\b|/vendor/phpunit/"
        r"|eval-stdin\.php|/boaform/|/hnap1(?:/|$)|/solr/admin|/manager/html|/jmx-console|/invoker/(?:readonly|jmx)|/_ignition/"
        r"|/docker-compose\.ya?ml|/id_[rd]sa$|/(?:shell|c99|r57|cmd|wso|b374k|webshell|alfa)[0-9]{0,3}\.(?:php[0-9]?|aspx?|jspx?)$"
        r"|/(?:trace|elmah)\.axd|/cgi-bin/(?:test|printenv|php|bash|luci|status|admin)[^/]{0,20}$|/console/(?:css|images)/|/_profiler/phpinfo"
        r"|/debug/pprof/|/telescope/requests|/wp-content/debug\.log",
        ("/server-", ".php", "/phpmyadmin/", "/web.config", "/actuator/", "/phpunit/", "/boaform/", "/hnap1", "/solr/",
         "/manager/", "-console", "/invoker/", "/_ignition", "/docker-compose", "/id_", "/shell", "/cmd", "/c99", "/r57", "/wso",
         "/b374k", "/webshell", "/alfa", ".axd", "/cgi-bin/", "/console/", "/_profiler", "/pprof", "/telescope", "debug.log"),
        PATH,
    ),
    # -- 1300: who asks
    Rule(
        1301, "scanner", CRITICAL,
        r"sqlmap|nikto|nuclei|nmap scripting|masscan|wpscan|dirbuster|gobuster|fuzz faster u fool|wfuzz|feroxbuster|acunetix"
        r"|arachni|w3af|openvas|nessus|havij|zgrab|^hydra|whatweb|commix|jaeles|dalfox|xsser|netsparker|qualys|burpcollab"
        r"|appscan|webinspect|joomscan|droopescan|sqlninja|zmeu|morfeus|l9explore|l9tcpid|httpx -|grendel|skipfish|vega/|dirb/"
        r"|paros/|zaproxy|owasp zap|xspider|whatwaf|wafw00f|tplmap|nosqlmap|ghauri|xray/|crlfuzz|dirsearch|ffuf|\.nasl\b",
        ("sqlmap", "nikto", "nuclei", "nmap", "masscan", "wpscan", "dirb", "buster", "fuzz", "acunetix", "arachni", "w3af",
         "openvas", "nessus", "havij", "zgrab", "hydra", "whatw", "commix", "jaeles", "dalfox", "xsser", "netsparker", "qualys",
         "burpcollab", "appscan", "webinspect", "joomscan", "droopescan", "sqlninja", "zmeu", "morfeus", "l9", "httpx",
         "grendel", "skipfish", "vega/", "paros/", "zap", "xspider", "wafw00f", "tplmap", "nosqlmap", "ghauri", "xray/",
         "dirsearch", "ffuf", ".nasl"),
        AGENT,
    ),
    # -- 2000: SQL
    Rule(
        2001, "sql-union", CRITICAL,
        r"(?:\b|[0-9]|\\n)union(?: all| distinct)?[ (+]{1,4}select[ (+]{1,4}(?:null|[0-9'\"@*~-]|all |distinct |[a-z_0-9.]{1,40} ?[(,]"
        r"|[a-z_.0-9]{1,40} (?:from|into) )|['\"0-9)] ?union(?: all| distinct)? select ?/?$",
        ("union ", "union(", "union+"),
    ),
    Rule(
        2002, "sql-condition-after-quote", CRITICAL,
        r"['\"`][ )]{0,4}(?:or|and|xor|\|\||&&|div|rlike)[ (!]{0,4}(?:[0-9.]{1,12}(?:x[0-9a-f]{1,16})?|['\"][^'\"]{0,24}['\"]"
        r"|[a-z_]{2,20}\([^)]{0,20}\)) ?\)?(?:[=<>!]{1,3}|like |in ?\(|is (?:not )?null|between )[ (]{0,3}['\"0-9a-z@(]"
        r"|['\"`][ )]{0,4}(?:or|and) [a-z_.]{1,20} ?(?:like ['\"]%|= ?[a-z_.'\"0-9]{1,12} ?(?:--|#))",
        ("'", '"', "`"),
    ),
    Rule(
        2003, "sql-condition", CRITICAL,
        r"(?:\b|[0-9])(?:or|and)[ (]{1,3}(?:(?:[0-9]{1,12}|0x[0-9a-f]{1,12}|'[^']{0,12}') ?(?:=|like |rlike |<=>|!=)[ (]{0,3}"
        r"(?:[0-9]|'|select )"
        rf"|{SQL_CALLS}\([0-9a-z',]{{0,20}}\) ?=)|^-?[0-9]{{1,10}}['\")]{{0,3}} ?(?:or|and) [0-9]{{1,10}} ?[<>] ?[0-9]",
        (" or", " and", ")or", ")and", "'or", "'and", "\"or", "\"and", "or(", "and(", "or ", "and "),
    ),
    Rule(
        2004, "sql-constant-condition", CRITICAL,
        r"['\"0-9)] ?(?:or|and|\|\|)[ (]{1,2}(?:true|false|not false)\b ?(?:--|#|/\*|;|$)|['\"]=['\"]{1,2}(?:or|and)\b|['\"0-9)]xor[ (]"
        r"|['\"] ?(?:or|and) (?:not )?(?:[0-9]{1,6}|'[^']{1,10}') ?(?:--[ '\"+-]{0,3}$|# ?$|/\*|;$)|\|\|['\"][^'\"]{0,10}['\"] ?=",
        (" true", "(true", " false", "(false", " not ", "='", '="', "xor ", "xor(", " or", " and", "'or", "'and", '"or', '"and', "||'", '||"'),
    ),
    Rule(
        2005, "sql-comment-after-quote", CRITICAL, r"['\"`][ );]{0,3}(?:--[ +-]{0,3}$|# ?$|/\*)|^[^ '\"`]{0,40}['\"`][ );]{0,3}--[ +-]{0,3}['\"]$",
        ("--", "#", "/*"),
    ),
    Rule(
        2006, "sql-second-statement", CRITICAL,
        rf"^[^\n]{{0,32}}['\"0-9)] ?\)?; ?{SQL_WORDS}|^'?; ?{SQL_WORDS}|['\"] ?\)?; ?{SQL_WORDS}[^\n]{{0,100}}--",
        (";",),
    ),
    Rule(
        2014, "sql-second-select", CRITICAL,
        r"(?:^|['\"0-9)] ?\)?); ?select (?:[*(@'\"~-]|null\b|[0-9]{1,8} ?(?:[,;-]|$)|[a-z_0-9.]{1,24}\(|[a-z_0-9.,]{1,24} from [a-z_0-9.]{1,24}(?:$|;|-|#| where ))",
        ("; select ", ";select "),
    ),
    Rule(
        2007, "sql-delay", CRITICAL,
        r"(?:\b(?:and|or|select|xor|if)|[,'\"|(])[ (]{0,4}sleep ?\( ?[0-9.]{1,6} ?\)|['\"]\)?; ?sleep ?\(|\bsleep ?\( ?[0-9.]{1,6} ?\) ?(?:#|--|/\*)|pg_sleep ?\(|benchmark ?\( ?[0-9]{4}"
        r"|waitfor delay ['\"]|dbms_pipe\.receive|dbms_lock\.sleep|user_lock\.sleep ?\(",
        ("sleep(", "sleep (", "benchmark(", "benchmark (", "waitfor ", "dbms_", "user_lock.sleep(", "user_lock.sleep ("),
    ),
    Rule(
        2008, "sql-catalogue", CRITICAL,
        r"information_schema['\"`\])]{0,2} ?\.|from ['\"`\[(]?information_schema|sqlite_master|pg_catalog\.|[ .(\[]sys(?:objects|columns)\b|\bmysql\.user\b|\bv\$version|@@version"
        r"|@@datadir|xp_cmdshell|xp_dirtree|sp_executesql|sp_configure|utl_http\.|utl_inaddr|load_file ?\(|into (?:out|dump)file ?['\"]"
        r"|extractvalue ?\( ?[0-9'\"]|updatexml ?\( ?[0-9'\"]|pg_read_file|lo_import ?\(|to program ['\"]",
        ("_schema", "sqlite_master", "pg_", " sysobjects", ".sysobjects", "(sysobjects", "[sysobjects", " syscolumns", ".syscolumns", "(syscolumns", "[syscolumns", "mysql.user", "v$version", "@@", "xp_", "sp_", "utl_", "load_file", "file'", 'file"', "file '", 'file "', "extractvalue(", "extractvalue (", "updatexml(", "updatexml (", "lo_import", "to program"),
    ),
    Rule(
        2009, "sql-functions", ERROR, SQL_FUNCTIONS,
        ("concat(", "concat (", "char(", "char (", "ascii(", "ascii (", "substr(", "substr (", "substring(", "substring (",
         "convert(", "convert (", "cast(", "cast (", "json_keys", "sysdate(", "sysdate (", "procedure analyse"),
    ),
    Rule(
        2010, "sql-subquery", CRITICAL,
        r"(?:\b(?:and|or|in|exists|not|like|rlike|regexp|if|case|substring|ascii|count|xor|cast|convert)|[=<>|,+'-]) ?\({1,4} ?select[ (]"
        r"|^\(?select case when|^select ?[~@^!+\\-][^ ]{0,24}from[`'\"(]|select count ?\( ?\* ?\) ?from [a-z_.]{2,40} as [a-z0-9]{1,8},"
        r"|case when \(?[0-9]{1,8} ?= ?[0-9]{1,8}\)? then|\b(?:i?if|elt|make_set) ?\( ?[0-9]{2,8} ?= ?[0-9]{2,8} ?[,)]|regexp_substring ?\( ?repeat ?\(",
        ("select ", "select(", "from`", "from'", 'from"', "from(", "case when ", "if(", "if (", "elt(", "elt (", "make_set(", "make_set (", "regexp_substring(", "regexp_substring ("),
    ),
    Rule(
        2011, "sql-order", CRITICAL,
        r"['\"0-9)] ?(?:order|group) by [0-9]{1,3} ?(?:--|#|/\*|$)|\bhaving ['\"]?[0-9]{1,8}['\"]? ?=",
        ("order by", "group by", "having "),
    ),
    Rule(
        2012, "sql-concatenation", CRITICAL, r"['\"] ?\|\| ?\(? ?(?:select|utl_|dbms_|pg_|chr\(|user\b)|(?:\|\||&&) ?[0-9]{1,8} ?={1,3} ?[0-9]", ("||", "&&"),
    ),
    Rule(2013, "sql-statement", WARNING, r"^ ?select [^;]{1,80} from [a-z_.]{2,40}(?: where | limit |;|--)", ("select ",)),
    Rule(
        2020, "nosql-operator", CRITICAL,
        r"\[ ?\$(?:ne|gte?|lte?|regex|where|n?in|exists|eq|not|or|and)\]|^\$(?:ne|where|regex|function|accumulator|expr)$"
        r"|\{ ?['\"]?\$(?:gt|ne|regex|where|lt|nin)['\"]? ?: ?(?:''|\"\"|null|\{|true|['\"]? ?['\"]?\}|\})|['\"] ?; ?return (?:true|1)\b"
        r"|\$where['\"]? ?:|, ?['\"]?\$(?:n?or|and|comment) ?: ?['\"\[{]|^\{ ?['\"]?\$(?:ne|[gl]te?|n?in|eq|exists|regex)['\"]? ?:[^{}]{1,40}\}$|new date ?\( ?\) ?;? ?\} ?while ?\(",
        ("$", "return ", "while(", "while ("),
    ),
    Rule(
        2030, "ldap-filter", CRITICAL,
        r"\((?:&|\|) ?\((?:[!&|]\()?[a-z]{1,24}[~<>]?=|^[^ (\n]{0,40}\) ?\( ?(?:[&|!](?:\(|\)|$)|[a-z]{2,24}[~<>]?=)|^\*?\(? ?\|? ?\(?(?:object(?:class|category)|userpassword)=\*|[a-z]{2,24}:(?:2\.5\.13|1\.2\.840)\.[0-9.]{1,30}:?=",
        ("(&", "(|", ")(", ") (", "objectclass=*", "objectcategory=*", "userpassword=*", ":2.5.13.", ":1.2.840."),
    ),
    Rule(2101, "sql-statement-anywhere", CRITICAL, r"\bselect [^;]{1,40} from [a-z_.]", ("select ",), level=2),
    # -- 3000: scripts
    Rule(3001, "script-tag", CRITICAL, r"</? ?script\b", ("<script", "</script", "< script", "</ script")),
    Rule(3002, "event-handler", CRITICAL, rf"[ \"'`/;\x09\x0a\x0c\x0d]{HANDLER}", (" on", '"on', "'on", "/on", "`on", ";on", "\ton", "\non", "\ron", "\x0con")),
    Rule(
        3003, "script-scheme", CRITICAL,
        r"(?:j ?a ?v ?a|v ?b|live) ?s ?c ?r ?i ?p ?t ?:(?:[^ ]{0,60}(?:[(=`]|/[/*])| ?/)", ("t:", "t :"),
    ),
    Rule(
        3004, "dangerous-element", ERROR,
        r"<(?:applet|isindex|object|embed|frameset|xss|base [^>]{0,40}href|meta [^>]{0,40}http-equiv|animate|set )\b", ("<",),
    ),
    Rule(3005, "script-in-data-url", CRITICAL, r"data: ?(?:text/html|application/xhtml\+xml|text/javascript)[;,]", ("data:", "data :")),
    Rule(
        3006, "call-after-quote", CRITICAL,
        r"['\"`] ?\)?[;+*/,|&)}-]{1,3} ?(?:alert|confirm|prompt|eval|fetch|settimeout|import|document\.|window\.)"
        r"(?:[(`]|[a-z]{1,20}[(=.])",
        ("'", '"', "`"),
    ),
    Rule(
        3007, "document-object", ERROR,
        r"document ?\. ?(?:cookie|domain|write(?:ln)?)\b|window ?\. ?location ?=|document\.location ?=|string\.fromcharcode|\.innerhtml ?="
        r"|\batob ?\(", ("document.", "document .", "window.", "window .", ".fromcharcode", ".innerhtml", "atob(", "atob ("),
    ),
    Rule(3008, "script-in-style", CRITICAL, r": ?expression ?\(|-moz-binding ?:|@import ?['\"]? ?(?:java|data:)|behavior: ?url",
         (":expression", ": expression", "-moz-", "@import", "behavior:")),
    Rule(3009, "script-attribute", CRITICAL, r"[ \"'/](?:srcdoc|formaction) ?=", ("srcdoc=", "srcdoc =", "formaction=", "formaction =")),
    Rule(3010, "dialogue", WARNING, r"\b(?:alert|confirm|prompt)[(`](?:[0-9'\"/`]|document|window|location|string\.|this)",
         ("alert(", "alert`", "confirm(", "confirm`", "prompt(", "prompt`")),
    Rule(3011, "utf-7", CRITICAL, r"\+adw-[a-z/]{1,10}", ("+adw-",)),
    Rule(
        3012, "call-by-name", CRITICAL,
        r"\b(?:alert|confirm|prompt)(?:\?\.|\??\.(?:call|apply|bind))\(|\((?:alert|confirm|prompt)\) ?[(`]|\bdocument\??\.?\[ ?['\"`](?:cookie|domain|write)"
        r"|(?:window|self|top|parent|frames|globalthis|this\)\(\))\[ ?['\"`/][^\]]{1,40}\] ?[(`]|document\?\.cookie",
        (".call(", ".apply(", ".bind(", "?.(", "alert)", "confirm)", "prompt)", "document[", "document?", "document.[",
         "window[", "self[", "top[", "parent[", "frames[", "globalthis[", ")()["),
    ),
    Rule(3101, "element", CRITICAL, r"</?[a-z!]", ("<",), QUERY | COOKIES | HEADERS, 2),
    # -- 4000: commands
    Rule(
        4001, "command-after-separator", CRITICAL,
        rf"(?:[;|&]|\$\(|[<>]\(|\{{) ?(?:/(?:usr/)?s?bin/)?{COMMAND}"
        rf"|{BARE}|\{{[a-z]{{2,8}},[/-]",
        (";", "|", "&", "$(", "<(", ">(", "{"), _ALL & ~AGENT,
    ),
    Rule(4007, "command-in-backticks", CRITICAL, rf"(?:^|[^ \n(`])`(?: ?(?:/(?:usr/)?s?bin/)?{COMMAND}|(?:id|ls|hostname) ?(?:$|[;|&`)])|env ?[|;])", ("`",), _ALL & ~AGENT),
    Rule(
        4006, "command-line", CRITICAL,
        r"^['\" ]?(?:cat /[a-z][a-z0-9/._*?-]{0,80} ?$|(?:head|tail|tac|nl|od|xxd|less|more|strings|g?zcat|gunzip -c|zstdcat|bzcat|xzcat) /(?:etc|var|proc)/|(?:wget|curl) (?:-[a-z]{1,4} )?https?://|busybox |(?:ba)?sh -[ic] |python[23]? -c ?['\"]|perl -e ?['\"]|rm -rf )",
        ("cat /", "/etc/", "/var/", "/proc/", "wget ", "curl ", "busybox ", "sh -", " -c", "perl -e", "rm -rf"), _ALL & ~PATH & ~AGENT,
    ),
    Rule(
        4002, "command-after-line-break", CRITICAL,
        rf"[\r\n] ?(?:{BIN}|(?:id|whoami|env|set|uname -a|ls -la?|cat /[a-z/]{{1,40}})[ ;|&\r\n]{{0,3}}$|ping -[a-z] [0-9])", ("\r", "\n"), QUERY | COOKIES,
    ),
    Rule(4003, "shellshock", CRITICAL, r"^ ?\(\) ?\{", ("()",)),
    Rule(
        4004, "shell", CRITICAL,
        rf"(?:^|[;|&`(<>='\",\r\n\x00$]|\\[nr]) ?{BIN}|{BIN} (?:-|/|<|['\"])|/dev/(?:tcp|udp)/|\$\{{?ifs\b|/\?\?\?/|>& ?/dev/|0>&1|\| ?(?:ba|z)?sh ?(?:$|[;|&-])"
        r"|;[a-z]{1,6}['\"]{2}[a-z]{1,6} ?/|[?*]assw[d?*]|/passw[?*]|/(?:et\?|e\?c|\?tc)/|/pa[?*]{1,2}s?wd|/etc\$[a-z0-9@*]{1,12}/|[?*]/passwd",
        ("bin/", "/dev/", "$ifs", "${ifs", "/???/", "0>&1", "| sh", "|sh", "| bash", "|bash", "| zsh", "|zsh", "''", '""', "?assw", "*assw", "passw?", "passw*", "/et?/", "/e?c/", "/?tc/", "/pa?", "/pa*", "/etc$", "?/passwd", "*/passwd"),
    ),
    Rule(
        4005, "windows-shell", CRITICAL,
        r"\bcmd(?:\.exe)? ?/[ck] |powershell(?:\.exe)? (?:-[a-z]{1,20} |iex)|net\.webclient|downloadstring ?\(|\biex ?\(|certutil -"
        r"|bitsadmin /|mshta http|rundll32 |regsvr32 /", ("cmd /", "cmd/", "cmd.exe", "powershell ", "powershell.exe", ".webclient", "downloadstring(", "downloadstring (", "iex(", "iex (", "certutil -", "bitsadmin /", "mshta http", "rundll32 ", "regsvr32 /"),
    ),
    Rule(
        4008, "server-side-include", CRITICAL, r"<!-- ?# ?(?:exec|include|echo|config|printenv|fsize|flastmod|set|if) ?(?:[a-z]{2,12} ?=|--)|<esi:(?:include|inline|debug|vars)\b",
        ("<!--#", "<!-- #", "<esi:"),
    ),
    Rule(4101, "shell-characters", CRITICAL, r"[`|]|;[ ]?[a-z/]|&&|\$\(", ("`", "|", ";", "&&", "$("), QUERY, 2),
    # -- 5000: templates and expressions
    Rule(
        5001, "jndi", CRITICAL, r"\$\{ ?jndi ?:|\$\{(?:lower|upper|env|sys|java|ctx|main|date|base64|log4j|k8s|docker|web) ?:|\$\{:{0,2}:-",
        ("${",),
    ),
    Rule(5002, "template-arithmetic", CRITICAL, r"(?:\{\{|\$\{|#\{|\*\{|<%=?|\[\[) ?[0-9]{1,6} ?[*+/-] ?['\"]?[0-9]{1,6}", ("{{", "${", "#{", "*{", "<%", "[[")),
    Rule(
        5003, "python-objects", CRITICAL,
        r"__(?:globals|builtins|subclasses|mro|import|getattribute|reduce_ex)__|\{[{%][^}]{0,40}__[a-z]{3,12}__|\.__class__\.__(?:base|mro|init)",
        ("__",),
    ),
    Rule(
        5004, "template-objects", CRITICAL,
        r"\{\{ ?config(?: ?\}\}|\.items|\.from_|\[)|\{%[^%]{1,40}config\.(?:iter)?items|\{\{ ?dump ?\(|\{\{[^}]{0,24}\.(?:class|mro|subclasses)[.(]|\{ ?\$smarty\.|\{\{ ?_self\b|\{\{ ?(?:lipsum|cycler|joiner|namespace|url_for|get_flashed_messages)[.( \[]"
        r"|request ?\| ?attr|request\.application\.|app\.request\.|\| ?attr ?\( ?['\"]|\| ?(?:map|filter|sort|reduce) ?\( ?['\"](?:system|exec"
        r"|passthru|popen|shell_exec)|\.registerundefinedfilter|os\.popen|\{% ?import os",
        ("{{", "|", "{$smarty", "{ $smarty", "request|", "request |", "request.", "os.popen", ".registerundefined", "{%"),
    ),
    Rule(
        5005, "smarty", CRITICAL, r"\{/?php\}|smarty_internal|\{ ?(?:system|exec|passthru|shell_exec|eval) ?\( ?['\"]",
        ("php}", "smarty_", "{system", "{ system", "{exec", "{ exec", "{passthru", "{ passthru", "{shell_exec", "{ shell_exec",
         "{eval", "{ eval"),
    ),
    Rule(
        5006, "java-templates", CRITICAL,
        r"freemarker\.template|['\"]\?new ?\(|<#assign |#set ?\( ?\$|\$class\.inspect|\.class\.forname|\bgetclass ?\( ?\)|\.forname ?\( ?['\"]java",
        ("freemarker.", "?new", "<#assign", "#set", "$class", ".forname", "getclass(", "getclass ("),
    ),
    Rule(
        5007, "java-expressions", CRITICAL,
        r"\bt ?\( ?java\.|java\.lang\.(?:runtime|processbuilder|system\b|class\b)|getruntime ?\(|new java\.|processbuilder ?\(|@java\.lang|_memberaccess"
        r"|[.#@]ognl(?:context|util)|%\{ ?[(#@]|\$\{ ?\(#|\$\{ ?#[a-z_]{1,20} ?=|#context\[|\.opensymphony\.|\$\{ ?(?:application|session|request)scope"
        r"|class\.(?:module\.)?classloader|multipart/form-data'\)",
        ("java.", "getruntime(", "getruntime (", "processbuilder(", "processbuilder (", "_memberaccess", ".ognl", "#ognl", "@ognl", "%{", "${", "#context", ".opensymphony", ".classloader", "form-data')"),
    ),
    Rule(
        5008, "ruby-templates", CRITICAL,
        r"<%[=-]? ?(?:system|exec|`|file\.|io\.|dir\.|open ?\(|%x|global\.|process\.)|#\{ ?(?:[`%@]|require\.|system|exec|file\.|io\.|root\.process)",
        ("<%", "#{"),
    ),
    Rule(
        5009, "javascript-objects", CRITICAL,
        r"constructor\.constructor|constructor ?\( ?['\"]return|process\.(?:mainmodule|binding)\b|process\.exit ?\(|mainmodule\.require|['\"`](?:node:)?child_process['\"`]|child_process\.(?:exec|spawn|fork)[a-z]{0,8} ?\("
        r"|global\.process|_\$\$nd_func|\bprocess ?\[ ?['\"]?(?:env|mainmodule|binding|req)|require\[|require ?\( ?['\"](?:fs|vm|net|os)['\"] ?\) ?\.",
        ("constructor.", "constructor(", "constructor (", "process.", ".process", "child_process", ".require", "_$$nd", "process[", "process [", "require[", "require(", "require ("),
    ),
    Rule(5010, "call-in-expression", CRITICAL, r"\$\{ ?(?:@|(?:alert|confirm|prompt|print|system|exec|eval|passthru) ?\()", ("${",)),
    # -- 6000: code
    Rule(
        6001, "php-tag", CRITICAL, r"<\?(?:php\b|= ?[`$(a-z]|[ \r\n]{0,4}(?:echo|eval|system|passthru|phpinfo|exec|assert|print)\b)", ("<?",),
    ),
    Rule(
        6002, "php-wrapper", CRITICAL, r"\b(?:php|phar|expect|zip|zlib|glob|ogg|ssh2(?:\.[a-z]{2,6})?)://|data://text|data:[^,;]{0,40};base64,pd9w",
        ("php://", "phar://", "expect://", "zip://", "zlib://", "glob://", "ogg://", "ssh2:", "ssh2.", "data://", ";base64,pd9w"),
    ),
    Rule(
        6003, "php-function", CRITICAL,
        r"\bphpinfo ?\( ?\)|(?:^|[^.\w])(?:system|exec|passthru|popen) ?\( ?(?:['\"$]|(?:whoami|id|ls|pwd|uname|cat|dir)[ )])|\(?['\"](?:system|passthru|exec|shell_exec|assert|popen)['\"]\)? ?\(|\((?:system|passthru|exec|shell_exec|assert)\) ?\("
        r"|\b(?:exit|die|print|echo|print_r|var_dump|printf)[ (]{1,2}(?:md5|sha1|phpversion|php_uname) ?\(|\bchr ?\([0-9]{1,3}\) ?\. ?chr ?\(|\bshell_exec ?\(|\bproc_open ?\(|\bpcntl_exec|\bgzinflate ?\("
        r"|\beval ?\( ?(?:base64|\$[a-z_]|gz|compile|atob|string|request|unescape|chr ?\(|str_rot|['\"](?:echo|print|system|return)\b)|\bassert ?\( ?\$_|call_user_func|[/\\]invokefunction|create_function ?\("
        r"|base64_decode ?\(",
        ("system)", "passthru'", 'passthru"', "passthru)", "exec'", 'exec"', "exec)", "assert'", 'assert"', "assert)", "popen'", 'popen"',
         "system'", 'system"', "md5(", "md5 (", "sha1(", "sha1 (", "phpversion(", "phpversion (", "php_uname(", "php_uname (", "chr(", "chr (", "phpinfo(", "phpinfo (", "system(", "system (", "exec(", "exec (", "passthru(", "passthru (", "popen(", "popen (",
         "shell_exec", "proc_open", "gzinflate(", "gzinflate (", "eval(", "eval (", "assert(", "assert (", "create_function",
         "base64_decode", "pcntl_", "call_user", "/invokefunction", "\\invokefunction"),
    ),
    Rule(6004, "php-object", CRITICAL, r"\b[oc]:\+?[0-9]{1,4}:\"[a-z_\\]{1,60}\":[0-9]{1,4}:\{", (":{",)),
    Rule(6005, "java-object", CRITICAL, r"(?:^|[^a-z0-9+/])ro0abx|\xac\xed\x00\x05", ("ro0abx", "\xac\xed")),
    Rule(6006, "php-superglobal", ERROR, r"\$_(?:get|post|request|server|cookie|files|session) ?\[", ("$_",)),
    Rule(6007, "prototype-pollution", CRITICAL, r"\b__proto__\b|\bconstructor\[prototype|constructor\.prototype\.", ("__proto__", "constructor[", "constructor.")),
    Rule(
        6008, "python-code", CRITICAL, r"\b__import__ ?\(|\bos\.(?:system|popen) ?\(|import os ?;|compile ?\( ?['\"]import|pickle\.loads ?\(|!!python/(?:object|name|module)",
        ("__import__", "os.", "import ", "compile(", "compile (", "pickle.", "!!python"),
    ),
    Rule(6009, "php-options", CRITICAL, r"allow_url_include|auto_prepend_file", ("allow_url_", "auto_prepend")),
    Rule(6010, "remote-file", CRITICAL, r"^(?:https?|ftp)://[^ ?]{1,120}\.(?:txt|inc|php[0-9]?|dat)(?:\?$|\x00)", (".txt", ".inc", ".php", ".dat"), QUERY | BODY | COOKIES),
    Rule(
        6011, "java-gadget", CRITICAL, r"com\.sun\.rowset|\.jdbcrowsetimpl|commons\.collections\.functors|\.templatesimpl|javax\.naming\.",
        ("com.sun", ".jdbcrowsetimpl", "collections.functors", ".templatesimpl", "javax.naming"),
    ),
    Rule(
        6012, "program-upload", CRITICAL, r"\.(?:php[0-9]?|phtml|phar|pht|jspx?|aspx?|ashx|asa|cgi|htaccess|war)(?:[.;% \x00][^/]{0,20})?$",
        (".ph", ".jsp", ".as", ".cgi", ".htaccess", ".war"), FILES,
    ),
    Rule(6013, "xml-entity", CRITICAL, r"<!entity [^>]{0,80}(?:system|public)|<!doctype [^>\[]{0,80}\[|<!\[cdata\[ ?[<>]\]\]>|<!doctype [a-z0-9:_.-]{1,40} system ['\"](?:/|\.|[a-z]{2,8}:/)", ("<!",)),
    # -- 7000: requests that the backend is made to send
    Rule(
        7001, "cloud-metadata", CRITICAL,
        r"169\.254\.169\.254|169\.254\.170\.2\b|metadata\.google\.internal|[/@]100\.100\.100\.200|fd00:ec2::254|computemetadata/v1"
        r"|//2852039166\b|/0xa9fea9fe|0xa9\.0xfe|0251\.0376",
        ("169.254.", "metadata.google", "computemetadata/", "/100.100.100", "@100.100.100", "fd00:ec2", "//2852039166", "/0xa9fea9fe", "0xa9.", "0251."), _ALL & ~PATH,
    ),
    Rule(
        7002, "local-service", CRITICAL,
        r"://(?:localhost|127\.[0-9.]{1,11}|0\.0\.0\.0|\[::1?\]|\[::ffff:[0-9a-f.:]{2,20}\])(?::(?:22|23|25|2375|2379|3306|5432|6379|8500|9200"
        r"|11211|27017|10250)(?:/|$)|/(?:server-status|actuator))",
        ("://localhost", "://127.", "://0.0.0.0", "://[::"), _ALL & ~PATH & ~HEADERS,
    ),
    Rule(
        7005, "call-back", CRITICAL,
        r"\.(?:burpcollaborator\.net|interact\.sh|oast\.(?:me|fun|pro|live|site|online)|oastify\.com|dnslog\.cn|ceye\.io|bxss\.me|xss\.ht)\b",
        (".burpcollaborator", ".interact.sh", ".oast.", ".oastify", ".dnslog.", ".ceye.", ".bxss.", ".xss.ht"),
    ),
    Rule(
        7004, "local-address", WARNING, r"^ ?https?://(?:localhost|127\.[0-9.]{1,11}|0\.0\.0\.0|\[::1?\])(?:[:/]|$)",
        ("://localhost", "://127.", "://0.0.0.0", "://[::"), QUERY | BODY | COOKIES,
    ),
    Rule(7003, "odd-scheme", CRITICAL, r"^ ?(?:gopher|dict|ldaps?|rmi|netdoc|tftp|jar:https?)://?[^ ]", ("gopher:", "dict:", "ldap:", "ldaps:", "rmi:", "netdoc:", "tftp:", "jar:")),
)  # fmt: skip

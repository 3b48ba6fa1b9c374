"""The words of the configuration's vocabulary.

To a type checker they are plain types; the word beside the type names the parser in
:mod:`revproxy.config.values` that reads and checks what was written.
"""

from __future__ import annotations

from typing import Annotated

from revproxy.config.units import Requests

Duration = Annotated[float, "duration"]
DurationOrZero = Annotated[float, "duration or zero"]
Size = Annotated[int, "size"]
SizeOrZero = Annotated[int, "size or zero"]
Rate = Annotated[float, "rate"]
RequestRate = Annotated[Requests, "request rate"]
Count = Annotated[int, "count"]
CountOrZero = Annotated[int, "count or zero"]
Port = Annotated[int, "port"]
Status = Annotated[int, "status"]
Text = Annotated[str, "text"]
Name = Annotated[str, "name"]
Network = Annotated[str, "network"]
Host = Annotated[str, "host"]
HostPattern = Annotated[str, "host pattern"]
UpstreamHost = Annotated[str, "upstream host"]
Path = Annotated[str, "path"]
PathPattern = Annotated[str, "path pattern"]
Regex = Annotated[str, "regex"]
Method = Annotated[str, "method"]
FieldName = Annotated[str, "field name"]
ChangedField = Annotated[str, "changed field"]
FieldValue = Annotated[str, "field value"]
Template = Annotated[str, "template"]
CookieName = Annotated[str, "cookie name"]
MediaType = Annotated[str, "media type"]
Protocol = Annotated[str, "protocol"]
Pseudonym = Annotated[str, "pseudonym"]
Location = Annotated[str, "location"]
PathTemplate = Annotated[str, "path template"]
Reference = Annotated[str, "reference"]
Share = Annotated[float, "share"]
Percent = Annotated[float, "percent"]
Target = Annotated[str, "target"]
StatusClass = Annotated[int, "status class"]
Tier = Annotated[int, "tier"]
KeyOf = Annotated[str, "key"]
LimitKey = Annotated[str, "limit key"]
PolicyName = Annotated[str, "policy name"]
Ipv4Prefix = Annotated[int, "IPv4 prefix"]
Ipv6Prefix = Annotated[int, "IPv6 prefix"]
ErrorStatus = Annotated[int, "error status"]
RetryOn = Annotated[str, "retry condition"]
StatusRange = Annotated[str, "status range"]
Identity = Annotated[str, "identity"]
Secret = Annotated[str, "secret"]
GzipLevel = Annotated[int, "gzip level"]
BrotliLevel = Annotated[int, "brotli level"]
ZstdLevel = Annotated[int, "zstd level"]
TypePattern = Annotated[str, "type pattern"]

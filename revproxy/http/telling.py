"""Names by which proxies tell applications who a client is: nobody but a trusted proxy may use them."""

from __future__ import annotations

#: How fields begin that tell a backend of a client's certificate or TLS, in whatever proxy's words: Client-Cert and
#: Client-Cert-Chain (RFC 9440), and those of nginx, HAProxy, Apache, Traefik, Envoy, Azure, AWS, Google and Cloudflare.
#: All are FORWARDED. Looked for in field lines that are not remembered only.
_TELL_CERTIFICATES = (
    b"client-cert", b"x-client-cert", b"x-client-verify", b"x-client-dn", b"x-client-s-dn", b"x-ssl-", b"ssl-",
    b"x-tls-client-", b"tls-client-", b"x-mtls-", b"x-forwarded-client-cert", b"x-forwarded-tls-", b"x-forwarded-ssl-",
    b"x-arr-clientcert", b"x-arr-ssl", b"x-amzn-mtls-", b"x-amzn-tls-", b"cf-client-cert", b"cf-cert-", b"x-clientcert",
)  # fmt: skip
#: How fields begin by which proxies in front of an application say who a client is, or what has been checked already:
#: oauth2-proxy, Authelia, authentik, Grafana's and Gitea's proxies, Pomerium, Vouch, Tailscale, Kong, Kubernetes,
#: Google's IAP, AWS, Azure; and Next.js, which told its own requests by one (CVE-2025-29927). All are FORWARDED. What
#: is signed proves itself and is not here.
_TELL_IDENTITIES = (
    b"x-forwarded-", b"remote-user", b"remote-groups", b"remote-name", b"remote-email", b"x-remote-user",
    b"x-remote-group", b"x-remote-extra-", b"x-remote-uid", b"x-auth-request-", b"x-authentik-", b"x-authenticated-",
    b"x-webauth-", b"x-pomerium-claim-", b"x-vouch-", b"tailscale-user-", b"x-consumer-", b"x-credential-identifier",
    b"x-anonymous-consumer", b"x-goog-authenticated-user-", b"cf-access-authenticated-user-", b"x-amzn-oidc-identity",
    b"x-ms-client-principal", b"x-middleware-subrequest",
)  # fmt: skip

#: How all of them begin.
TELLING = _TELL_CERTIFICATES + _TELL_IDENTITIES

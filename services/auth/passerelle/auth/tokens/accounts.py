"""The accounts that tokens may name. The syntax of account names is checked elsewhere."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from passerelle.auth.tokens.issuer import Issuer

SYSTEM_ACCOUNTS = (
    # Conventions: machines of a domain, services of a package, what systemd makes.
    "*$", "_*", "systemd-*", "debian-*", "dbus*",
    # Debian's base-passwd, RHEL's setup, SLES' system-user-*.
    "adm", "backup", "bin", "daemon", "ftp", "games", "gnats", "halt", "irc", "list", "lp", "mail", "man", "messagebus",
    "news", "nobody", "nfsnobody", "nfsanonymous", "nogroup", "operator", "proxy", "shutdown", "sshd", "sync", "sys",
    "toor", "unbound", "uucp", "uuidd", "wwwrun", "www-data",
    # Services that are often found on clusters.
    "apache", "avahi", "ceph", "chrony", "clamav", "cockpit-*", "colord", "docker", "dnsmasq", "etcd", "exim",
    "geoclue", "gdm", "gitlab-runner", "gluster", "grafana", "influxdb", "ldap", "libvirt*", "mariadb", "mongodb",
    "mysql", "nagios", "named", "nginx", "node-exporter", "node_exporter", "nscd", "nslcd", "ntp", "openldap",
    "oprofile", "pcp", "polkitd", "postfix", "postgres", "prometheus", "pulse", "puppet", "qemu", "redis", "rpc",
    "rpcuser", "rtkit", "saslauth", "setroubleshoot", "squid", "sssd", "statd", "stunnel", "tcpdump", "telegraf",
    "tftp", "tomcat", "tss", "usbmux", "vnstat", "xcat", "zabbix",
    # Schedulers, and this gateway with its predecessor.
    "condor", "flux", "lsfadmin", "munge", "pbs", "pbsdata", "sge", "slurm*", "passerelle", "firecrest",
)  # fmt: skip
"""Patterns of names that belong to a system, not to a person; compared in lower case."""


def why_barred(name: str, issuer: Issuer) -> str | None:
    """What is accepted instead of the account `name`, if tokens of `issuer` may not stand for it; None if they may."""
    if name.lower() == "root" and not issuer.allow_root:
        return "not root, unless `allow_root`"
    if not _matches(name, issuer.accounts):
        return f"accounts like {', '.join(issuer.accounts)} (`accounts`)"
    if _matches(name, issuer.denied_accounts):
        return "none of `denied_accounts`"
    if _matches(name, SYSTEM_ACCOUNTS) and not _matches(name, issuer.system_accounts):
        return "no account of the system, unless in `system_accounts`"
    return None


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name matches a pattern. Case is ignored, as directories such as Active Directory do."""
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)

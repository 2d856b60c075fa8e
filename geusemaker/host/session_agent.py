"""Installs AWS's Session Manager agent, on the instance and as root: by cloud-init, or over SSH on one that is there.

    python3 - REGION DNS_SUFFIX < session_agent.py

Only the standard library is there. The package is AWS's, from the region's own bucket, and is installed just if AWS's
key has signed it: https://docs.aws.amazon.com/systems-manager/latest/userguide/agent-install-deb.html and
https://docs.aws.amazon.com/systems-manager/latest/userguide/verify-agent-signature.html (the bucket's address in other
partitions: https://docs.amazonaws.cn/en_us/systems-manager/latest/userguide/verify-agent-signature.html). An image that
has the agent, as Ubuntu's and AWS's have it (snap or package), keeps that one.
"""

from __future__ import annotations

import base64
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

FINGERPRINT = "1C5B395CBE5E74E2F1CA21592784DBF388D19D46"
"""Of the key below, which is that page's (here from https://github.com/aws/eks-hybrid, internal/ssm/source.go): of
4 June 2026, expiring on 25 November 2027. gpgv takes it after that as well (gpgv(1)); a package that another key has
signed is refused, and then this file needs that key."""
KEY = """\
-----BEGIN PGP PUBLIC KEY BLOCK-----
Version: GnuPG v2.0.22 (GNU/Linux)

mQINBGohhG8BEACxNOk7TM1ywHjW0qrSyH9npRDUjpWAyCD8L1Yu7nLnxwEBtUOk
HgQIo1scTWuwogaBZpAzg22A25AloOrhX8BGTokh71Xm3LbQT8dDQUDT7WRTl4R5
p7786TN79p4DqD3/JyzjiD/keTYyhplBWdyk5BEcqlyVj9Pf/1O6CrOJgGD1oGYK
7lRqMtmXlf86/mKveWvjJTPAF26dkDJZecnrheyEA99XlONm8zAlK6h09JThHBmW
MgDPXDSsVeEyXilPUJFhZJ2HXVG2tS9ioVM309tMX6B3W5woT7w8SA6uV2Pf0jMm
oYmMuCmQMU8/7/vOLQSJm+6Wui5dZywArqtOqXcSledRf7xhmug3Qa5maqY2Ttcn
XqTaH3WaBLtJZYqDJcsUH99AXqdQkozsCHHL2NmxRiShyLCX4VBKzH8j5kDNGeSL
uiICbj1Tufh7LDuIwdOQnX9gvB6j/SF3YVqJl4DAjCs4ODYpwm+36RZjQkbwELzX
zXnDoNgjR5tXCiNdxJLuzemQy7FcDc90fEbpDX03rN7iceavBmZbZ5Tlu53fgpzd
kflD8OwfjnYa9AXh2zweC1G0ut2QU+cZcoOq5/QPtQELNqvgpAUsQtkCECTerz8S
ugriZD4Tnd4FJUgoqX+/iwCWesyWjGkotxi7aJluLtz+znNT9SgeMCoJmQARAQAB
tCdTU00gQWdlbnQgPHNzbS1hZ2VudC1zaWduZXJAYW1hem9uLmNvbT6JAj8EEwEC
ACkFAmohhG8CGy8FCQLGmIAHCwkIBwMCAQYVCAIJCgsEFgIDAQIeAQIXgAAKCRAn
hNvziNGdRnXVD/9bP0IX6aU+qur66fTWs8RLDs//6Vx93e8lH6p4W+RxL+wW7Ajc
/REB7PPgc5ohW80/LwxHP2g8cZiSK7fp9cRbXODqiVYl4mAWQNfxfGcWpBxcEsyo
UGF6oRjiibL1BcJLFJgVZ/H4pT0xNEDJNIJpRn7ZVXm0vrVVVUh4a4WFXUkspRXm
q37eIMm76p969L5SNjY+F8Ld6hjmRiRopg4f/+lf/+e6R+fofSOVE3Ip/YpPH1DR
plwQJrMk1XFjm+JTsdtqMTIKv38j7HANmUgDGLsuQNn8048n6ve8koVZLSrv9FAi
elSNsSIurLEpkLM0QPOFviagK7zB/d/zScpGquBU9dPFOoTq/sNFhnZr+PA7MAek
r4WOP8kasS3LWGn/rqqIOw/PDm2mmUaIwm4XenOe8lJFKUGp6ssUOj4PIQKwGaL/
S2xTex25ZaNQaKXv2JUmriGycpCjIaniEHz60bBN1kSgO0m0a5Yg3X9Qw+ezt51o
Pi6H6NdE0IwNzNcbJI2UvphwR9L92Br/J9ElYbHRdgmz26SZeRNTht/+zKPxk4iD
YibpQ804cPfA0mJBODwzqL5BBfVJ0/rLtQ2ymuHaqKbKEc0KuJ6vWMoH9qlMBlv5
YiZeUw5Ls2uuaxhKTUYrCE4LuUlAtNW63+/TP+ciBg1bq5H5aBn5tSCYV4kCHAQQ
AQIABgUCaiGEcQAKCRB90Jej2tf1/PUvD/43D4uSk84EFEbvxHsXazhieLpzoMql
zYcxOWjRF9+8bYq9NQlC7gYDI3xS7y0NYfNWHdPU2FFO7Obu9XhZp2gQ+NqyyVTj
GoivF2uIhM6xsE1r9ZXXMLap4xbnPTfbLgQIyXkb1Dw0VVK40yFFOHMUs0mXJN6m
/S+FP3TDcgoDxgyRsRAB0vGKPIJABtlmR9Fg0tPEZpA4kbawiEq5uBjv5Fol/ctl
jRZ51ksszlxhZd0t9/aBpe7XBHpfIlsItPVskHV6Kpc274lj+f0BVE70/1n/++FM
sxpQNuN7mdXXzMLASifVapPQGLBeHuxriHsgh+V6Arpswojy1uPgp6J8B/gQQ/B2
mebiGJrM/LwNPWj79QPPgzUFz6LqYnyhtJCWURWJjzHRSXsPWKgd98AXjkeSgUz9
8NV5p9Td1uZ0iYQ7Qlo58Ih6jfPFULnftiQuRnp/5ErhojV/zxKzjZNmB6YZ508M
nYrz5/++8LBc6uAf/Oq907CdfEkAYid8j2dFttksJbhlYVTnuo9vd4BdOovnB88V
dvyFJcFzlWsys2vrH6CGmngYKStQHEA588/d1w1E7Z4A8XJJiBKkBMZSOrWDmUjG
vihLPXNOsrpdCZTI9jlznp6OrRVP3P9fp3fXj1nJeIdMr30akz19Lze6T9jsDDWa
M98H0Sl+MxUsAg==
=TpOv
-----END PGP PUBLIC KEY BLOCK-----
"""
UNITS = ("amazon-ssm-agent", "snap.amazon-ssm-agent.amazon-ssm-agent")
TRIES = 10
PAUSE = 3.0


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """A program's end; what it says goes to nobody's terminal."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)


def require(*words: str) -> str:
    """A program's output; its failure ends this."""
    done = run(*words)
    if done.returncode:
        sys.exit(f"{' '.join(words[:3])} failed ({done.returncode}): {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def runs() -> bool:
    """Whether the agent runs already."""
    return any(run("systemctl", "is-active", "--quiet", unit).returncode == 0 for unit in UNITS)


def fetch(address: str, file: pathlib.Path) -> None:
    """Download a file; the network may still be coming up."""
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(address, timeout=60) as answer, file.open("wb") as out:
                shutil.copyfileobj(answer, out)
            return
        except OSError as error:
            if not left:
                sys.exit(f"{address} cannot be had: {error}")
            time.sleep(PAUSE)


def keyring(text: str) -> bytes:
    """The key as gpgv takes it: without the armour (RFC 9580, section 6)."""
    body = text.partition("\n\n")[2].partition("\n=")[0]
    return base64.b64decode(body)


def require_signed(package: pathlib.Path, signature: pathlib.Path) -> None:
    """End this unless AWS's key has signed the package."""
    if shutil.which("gpgv") is None:
        # Debian 13's apt checks its own signatures with sqv.
        require("apt-get", "-o", "DPkg::Lock::Timeout=600", "update")
        require("apt-get", "-o", "DPkg::Lock::Timeout=600", "-y", "install", "gpgv")
    ring = package.with_name("aws.gpg")
    ring.write_bytes(keyring(KEY))
    said = run("gpgv", "--status-fd", "1", "--keyring", str(ring), str(signature), str(package))
    valid = [line.split() for line in said.stdout.splitlines() if line.startswith("[GNUPG:] VALIDSIG ")]
    if said.returncode or not any(FINGERPRINT in words for words in valid):
        sys.exit(f"AWS's key {FINGERPRINT} has not signed the agent's package, so it is not installed.")


def main(region: str, suffix: str) -> None:
    """Have the agent run; what keeps it from that ends this with a sentence."""
    if runs():
        return
    architecture = require("dpkg", "--print-architecture").strip()
    # The variable is of AWS's SDKs; an instance of the local cloud has it.
    host = os.environ.get("AWS_ENDPOINT_URL_S3") or f"https://s3.{region}.{suffix}"
    address = f"{host}/amazon-ssm-{region}/latest/debian_{architecture}/amazon-ssm-agent.deb"
    with tempfile.TemporaryDirectory() as folder:
        package, signature = (pathlib.Path(folder, f"amazon-ssm-agent.deb{end}") for end in ("", ".sig"))
        fetch(address, package)
        fetch(f"{address}.sig", signature)
        require_signed(package, signature)
        require("dpkg", "--install", str(package))
    require("systemctl", "enable", "--now", UNITS[0])
    if not runs():
        sys.exit("AWS's Session Manager agent was installed and does not run.")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Certificate authorities and the certificates that they sign, as PEM files."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = dt.timedelta(days=1)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass(frozen=True)
class Authority:
    """A certificate authority; ``root`` is the file with its own certificate."""

    root: Path
    _key: ec.EllipticCurvePrivateKey
    _certificate: x509.Certificate

    @classmethod
    def create(cls, folder: Path, name: str) -> "Authority":
        """Make an authority, and write its certificate to ``folder``."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, name, key.public_key()).add_extension(x509.BasicConstraints(True, None), True)
        certificate = builder.sign(key, hashes.SHA256())
        root = folder / f"{name}.crt"
        root.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(root, key, certificate)

    def issue(self, common_name: str, host: str | None = None, *, days: int = 30) -> tuple[Path, Path]:
        """Write a certificate and its key for a user, or for a host (name or address); return their files.

        Negative ``days`` make a certificate that has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self._certificate.subject.rfc4514_string().removeprefix("CN=")
        builder = _builder(common_name, issuer, key.public_key(), days=days)
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([_subject(host)]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        files = (self.root.with_name(f"{common_name}.crt"), self.root.with_name(f"{common_name}.key"))
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        files[1].chmod(0o600)
        return files


def _subject(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(name: str, issuer: str, key: ec.EllipticCurvePublicKey, *, days: int = 30) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + min(days - 1, -1) * _DAY)
        .not_valid_after(now + days * _DAY)
    )

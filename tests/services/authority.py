"""A certificate authority of the test's own, and what it signs."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ADDRESSES = ("127.0.0.1", "127.0.0.2")


class Authority:
    """`ca` is its certificate; `certificate` one of ADDRESSES and localhost; `private_key` goes with that."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.ca = folder / "ca.pem"
        self.certificate = folder / "certificate.pem"
        self.private_key = folder / "key.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("tesp test authority")
        own = x509.BasicConstraints(ca=True, path_length=0)
        self.ca.write_bytes(self._signed(self._name, self._key, own))
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(each)) for each in ADDRESSES]
        names.append(x509.DNSName("localhost"))
        signed = self._signed(_named("tesp test server"), key, x509.SubjectAlternativeName(names))
        self.certificate.write_bytes(signed)
        self.private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(extension, isinstance(extension, x509.BasicConstraints))
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

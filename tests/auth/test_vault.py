"""Encryption at rest."""

import stat
from pathlib import Path

import pytest

from prosperstack_destination.auth.vault import Vault, load_or_create_secret
from prosperstack_destination.errors import ConfigurationError

SECRET = "a secret that is long enough"


def test_encrypted_text_is_decrypted() -> None:
    """A vault with the same secret decrypts; the stored text does not contain the key."""
    token = Vault(SECRET).encrypt("key_abc")

    assert "key_abc" not in token
    assert Vault(SECRET).decrypt(token) == "key_abc"


def test_another_secret_cannot_decrypt() -> None:
    """With another SECRET_KEY the error names what to restore."""
    token = Vault(SECRET).encrypt("key_abc")

    with pytest.raises(ConfigurationError, match="Put the former one back"):
        Vault(SECRET + "!").decrypt(token)


def test_short_secret_is_rejected() -> None:
    """A SECRET_KEY that could be guessed is rejected."""
    with pytest.raises(ConfigurationError, match="shorter than 16"):
        Vault("short")


def test_former_secrets_decrypt() -> None:
    """After SECRET_KEY was changed the former one decrypts; texts encrypted again do not need it."""
    token = Vault(SECRET).encrypt("key_abc")
    both = Vault(SECRET + "!", [SECRET])

    assert both.decrypt(token) == "key_abc"
    assert Vault(SECRET + "!").decrypt(both.reencrypt(token)) == "key_abc"
    with pytest.raises(ConfigurationError):
        Vault(SECRET).decrypt(both.encrypt("key_abc"))


def test_pseudonyms_survive_key_rotation() -> None:
    """A pseudonym stays the same while secrets change, and after."""
    former, both, later = Vault(SECRET), Vault(SECRET + "!", [SECRET]), Vault(SECRET + "!")
    before = former.pseudonym("someone")
    without = later.pseudonym("someone")
    later.use_pseudonym_key(both.pseudonym_key())

    assert both.pseudonym("someone") == later.pseudonym("someone") == before != without


def test_unwritable_folder_is_reported(tmp_path: Path) -> None:
    """The error for an unusable data folder says what to do."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="set DATA_DIR to another folder"):
        load_or_create_secret(tmp_path / "file" / "data")


def test_secret_is_created_once(tmp_path: Path) -> None:
    """The secret next to the database is created at the first start, readable by its owner only, and stays."""
    folder = tmp_path / "data"

    secret = load_or_create_secret(folder)

    assert load_or_create_secret(folder) == secret
    assert len(secret) > 40
    assert stat.S_IMODE((folder / "secret.key").stat().st_mode) == 0o600

"""Encryption at rest."""

import stat
from pathlib import Path

import pytest

from prosperstack_destination.auth.vault import Vault, load_or_create_secret
from prosperstack_destination.errors import ConfigurationError

SECRET = "a secret that is long enough"


def test_what_is_encrypted_comes_back() -> None:
    """A vault with the same secret decrypts; the key is not in what is stored."""
    token = Vault(SECRET).encrypt("key_abc")

    assert "key_abc" not in token
    assert Vault(SECRET).decrypt(token) == "key_abc"


def test_another_secret_opens_nothing() -> None:
    """With another SECRET_KEY the operator is told what to put back."""
    token = Vault(SECRET).encrypt("key_abc")

    with pytest.raises(ConfigurationError, match="Put the former one back"):
        Vault(SECRET + "!").decrypt(token)


def test_a_short_secret_is_refused() -> None:
    """A SECRET_KEY that could be guessed is none."""
    with pytest.raises(ConfigurationError, match="shorter than 16"):
        Vault("short")


def test_former_secrets_decrypt() -> None:
    """After SECRET_KEY was changed the former one decrypts, and what is encrypted anew needs it no longer."""
    token = Vault(SECRET).encrypt("key_abc")
    both = Vault(SECRET + "!", [SECRET])

    assert both.decrypt(token) == "key_abc"
    assert Vault(SECRET + "!").decrypt(both.reencrypt(token)) == "key_abc"
    with pytest.raises(ConfigurationError):
        Vault(SECRET).decrypt(both.encrypt("key_abc"))


def test_pseudonyms_outlive_the_secret() -> None:
    """What stands for somebody stays the same while secrets change, and after."""
    former, both, later = Vault(SECRET), Vault(SECRET + "!", [SECRET]), Vault(SECRET + "!")
    before = former.pseudonym("someone")
    without = later.pseudonym("someone")
    later.use_pseudonym_key(both.pseudonym_key())

    assert both.pseudonym("someone") == later.pseudonym("someone") == before != without


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A data folder that cannot be is told with what to do."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="set DATA_DIR to another folder"):
        load_or_create_secret(tmp_path / "file" / "data")


def test_the_secret_is_made_once(tmp_path: Path) -> None:
    """The secret beside the database is made at the first start, for its owner's eyes only, and stays."""
    folder = tmp_path / "data"

    secret = load_or_create_secret(folder)

    assert load_or_create_secret(folder) == secret
    assert len(secret) > 40
    assert stat.S_IMODE((folder / "secret.key").stat().st_mode) == 0o600

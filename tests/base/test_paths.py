"""Folders appear whole or not at all."""

from __future__ import annotations

import pytest

from danlu.base import paths
from danlu.base.errors import UserError


def test_a_folder_appears_only_when_whole(tmp_path):
    with pytest.raises(RuntimeError), paths.whole_folder(tmp_path / "a") as aside:
        (aside / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_older_folder_stays_until_the_new_one_is_whole(tmp_path):
    for text in ("old", "new"):
        with paths.whole_folder(tmp_path / "a") as aside:
            (aside / "file").write_text(text)
            if text == "new":
                assert (tmp_path / "a" / "file").read_text() == "old"
    assert (tmp_path / "a" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_does_not_fit_is_refused_before_writing(tmp_path):
    with pytest.raises(UserError, match="MB free"):
        paths.need_space(tmp_path / "not" / "yet", 10**18)


def test_the_shipped_configurations_are_found():
    assert (paths.configs() / "pretrain.yaml").exists()


def test_a_kill_between_the_two_renames_is_mended(tmp_path):
    """The names are those of a process that is no more."""
    import platform

    gone = f"{platform.node()}-999999999"
    (tmp_path / f".a.replaced-{gone}").mkdir()
    (tmp_path / f".a.replaced-{gone}" / "file").write_text("old")
    (tmp_path / f".a.writing-{gone}").mkdir()
    paths.recover(tmp_path / "a")
    assert (tmp_path / "a" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

"""Bundles: whole or refused, cut and put together again, made and installed in pieces, without a network."""

import os
import re
import shutil
import subprocess
import zipfile

import pytest

from shell import CLEAN, ROOT, call, export, finish, small_clone

PARTS = ["data-data_chats.jsonl", "source", "weight-out_full_sft_128-hf", "wheels"]


def tiny_wheel(folder):
    """A package that needs nothing, as setup would find it."""
    folder.mkdir(parents=True)
    info = "little-1.0.dist-info"
    with zipfile.ZipFile(folder / "little-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("little.py", "said = 'hello'\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: little\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def clone(tmp_path):
    """A clone with weights, data and a package, in a path with a space and Chinese in it."""
    clone = small_clone(tmp_path / "丹 炉")
    shutil.copy2(ROOT / ".gitignore", clone / ".gitignore")
    finish(clone, "full_sft_128")
    export(clone, "full_sft_128")
    (clone / "out/full_sft_128-hf/model.safetensors").write_bytes(os.urandom(300_000))
    (clone / "data").mkdir()
    (clone / "data/chats.jsonl").write_text('{"text": "茶"}\n' * 1000, encoding="utf-8")
    tiny_wheel(clone / "packages")
    return clone


def bundle(clone, *words, **env):
    return call("bash", "run_all.sh", "bundle", *words, cwd=clone, **env)


def create(clone, *words, out="dist/bundle", **env):
    names = ["--weight", "full_sft_128-hf", "--data", "data/chats.jsonl", "--wheels", "packages"]
    done = bundle(clone, "create", "--image", "none", "--device", "cpu", "--out", out, *names, *words, **env)
    assert done.returncode == 0, done.stderr
    return clone / out, done.stderr


def two_lines(done):
    assert done.returncode == 2, done.stderr
    problem, remedy = done.stderr.strip().splitlines()[-2:]
    assert problem.startswith("error: ") and remedy.startswith("  try: ")
    return problem


def same(one, other):
    """Whether two files or folders hold the same."""
    return subprocess.run(["diff", "-r", one, other], capture_output=True).returncode == 0


def test_what_is_made_is_whole_and_is_installed_as_it_was(clone, tmp_path):
    made, told = create(clone)
    assert "a bundle of 4 parts" in told
    assert bundle(clone, "verify", str(made)).returncode == 0
    there = tmp_path / "there"
    done = call("bash", made / "install.sh", there, "--no-setup", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("launch", "configs", "run_all.sh", "out/full_sft_128-hf", "data/chats.jsonl"):
        assert same(clone / name, there / name), name
    assert not (there / "out/full_sft_128").exists()
    assert [path.name for path in (there / "wheels").iterdir()] == ["little-1.0-py3-none-any.whl"]


def test_parts_are_cut_to_size_and_put_together_again(clone, tmp_path):
    made, _ = create(clone, "--split", "100K")
    sizes = [path.stat().st_size for path in made.glob("*.tar*")]
    assert max(sizes) <= 100 * 1024 and len(list(made.glob("weight-*.tar.*"))) >= 3
    done = call("bash", made / "install.sh", tmp_path / "there", "--no-setup", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert same(clone / "out/full_sft_128-hf", tmp_path / "there/out/full_sft_128-hf")


def change(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


TAMPERED = {
    "one bit": change,
    "the end": lambda path: os.truncate(path, path.stat().st_size - 1),
    "all of it": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_part_that_is_not_what_it_was_is_named_and_nothing_is_installed(clone, how):
    made, _ = create(clone)
    before = sorted(os.listdir(clone))
    TAMPERED[how](made / f"{PARTS[2]}.tar")
    assert f"{PARTS[2]}.tar" in two_lines(bundle(clone, "verify", str(made)))
    assert f"{PARTS[2]}.tar" in two_lines(bundle(clone, "install", str(made)))
    assert sorted(os.listdir(clone)) == before


def test_a_source_that_is_not_what_it_was_is_not_run(clone, tmp_path):
    made, _ = create(clone)
    change(made / "source.tar")
    done = call("bash", made / "install.sh", "there", cwd=tmp_path)
    assert done.returncode == 2 and "not what it was" in done.stderr
    assert not (tmp_path / "there").exists()


def test_a_part_nobody_listed_and_a_list_somebody_wrote_anew_are_refused(clone):
    made, told = create(clone)
    (digest,) = re.findall(r"--digest ([0-9a-f]{64})$", told.strip())
    assert bundle(clone, "verify", str(made), "--digest", digest).returncode == 0
    (made / "weight-more.tar").write_bytes(b"")
    assert "weight-more.tar" in two_lines(bundle(clone, "verify", str(made)))
    (made / "weight-more.tar").unlink()
    with (made / "SHA256SUMS").open("a") as sums:
        sums.write("")
        sums.write(f"{'0' * 64}  other\n")
    assert "list of checksums" in two_lines(bundle(clone, "verify", str(made), "--digest", digest))


def test_what_is_there_is_not_made_again_and_what_changed_is(clone):
    made, _ = create(clone)
    written = {path.name: path.stat().st_mtime_ns for path in made.glob("*.tar")}
    (clone / "data/chats.jsonl").write_text('{"text": "茶叶"}\n')
    again, told = create(clone)
    changed = {path.name for path in again.glob("*.tar") if path.stat().st_mtime_ns != written[path.name]}
    assert changed == {"data-data_chats.jsonl.tar"}
    assert told.count("there already") == 3
    assert bundle(clone, "verify", str(made)).returncode == 0


def test_a_bundle_that_was_not_finished_goes_on_where_it_stopped(clone, tmp_path):
    """Its disk is full in the middle: a tar that fails stands for it."""
    tools = tmp_path / "tools"
    tools.mkdir()
    script = f'#!/bin/sh\ncase "$*" in *chats*) exit 1 ;; esac\nexec {shutil.which("tar")} "$@"\n'
    (tools / "tar").write_text(script)
    (tools / "tar").chmod(0o755)
    names = [
        "--weight",
        "full_sft_128-hf",
        "--data",
        "data/chats.jsonl",
        "--wheels",
        "packages",
        "--image",
        "none",
    ]
    done = bundle(clone, "create", *names, PATH=f"{tools}:{os.environ['PATH']}")
    assert done.returncode != 0
    assert "not finished" in two_lines(bundle(clone, "verify", "dist/bundle"))
    made, told = create(clone)
    assert told.count("there already") == 3 and bundle(clone, "verify", str(made)).returncode == 0


def test_parts_no_longer_asked_for_leave(clone):
    create(clone)
    done = bundle(clone, "create", "--image", "none", "--wheels", "packages")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (clone / "dist/bundle").glob("*.tar")) == ["source.tar", "wheels.tar"]


def test_an_installation_again_changes_nothing_and_writes_over_nobody(clone, tmp_path):
    made, _ = create(clone)
    other = small_clone(tmp_path / "other")
    mine = finish(other, "full_sft_128-hf")
    assert "is here already" in two_lines(bundle(other, "install", str(made), "--no-setup"))
    assert sorted(path.name for path in mine.iterdir()) == ["config.json", "run.json"]
    shutil.rmtree(mine)
    assert bundle(other, "install", str(made), "--no-setup").returncode == 0
    told = bundle(other, "install", str(made), "--no-setup").stderr
    assert told.count("there already") == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("create --split 4GB", "--split 4GB"),
        ("create --data nothing", "there is no nothing"),
        ("create --weight nothing", "no finished weights"),
        ("create --data /etc/hosts", "outside the clone"),
        ("create --wheels configs", "no packages"),
        ("verify data", "no bundle"),
        ("install nowhere", "there is no folder"),
        ("explode", "bundle explode"),
    ],
)
def test_a_mistake_is_two_lines(clone, words, says):
    done = bundle(clone, *words.split())
    assert says in two_lines(done) and len(done.stderr.strip().splitlines()) == 2


def test_a_bundle_for_another_processor_is_refused(clone):
    made, _ = create(clone)
    about = made / "about"
    about.write_text(re.sub("machine .*", "machine s390x", about.read_text()))
    sums = (made / "SHA256SUMS").read_text().splitlines()
    new = subprocess.run(["sha256sum", "about"], cwd=made, capture_output=True, text=True).stdout
    kept = [line for line in sums if not line.endswith(" about")]
    (made / "SHA256SUMS").write_text("\n".join(kept) + f"\n{new}")
    assert "s390x" in two_lines(bundle(clone, "install", str(made)))


def test_a_dry_run_makes_nothing(clone):
    done = bundle(clone, "create", "--image", "none", "--wheels", "packages", "--dry-run")
    assert done.returncode == 0 and "tar -cf - -C packages ." in done.stdout
    assert not (clone / "dist").exists()


def without_network(*command, **env):
    """A command in a network namespace of its own, where there is no route to anywhere."""
    return call("unshare", "--net", *command, **env)


def test_it_installs_where_there_is_no_network(clone, tmp_path):
    if without_network("true").returncode:
        pytest.skip("no network namespaces on this host")
    made, _ = create(clone)
    there = tmp_path / "there"
    assert without_network("bash", "-c", "exec 3<>/dev/tcp/1.1.1.1/80").returncode != 0
    done = without_network("bash", made / "install.sh", there, "--no-setup", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    venv = [str(ROOT / ".venv/bin/python"), "-m", "venv", tmp_path / "env"]
    subprocess.run(venv, check=True, env=CLEAN)
    install = [
        tmp_path / "env/bin/python",
        "-m",
        "pip",
        "install",
        "--no-index",
        "--find-links",
        "wheels",
        "little",
    ]
    done = without_network(*install, cwd=there)
    assert done.returncode == 0, done.stderr
    hello = without_network(tmp_path / "env/bin/python", "-c", "import little; print(little.said)")
    assert hello.stdout == "hello\n"

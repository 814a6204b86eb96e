"""What lies on the disk after success, failure, a signal, and a full disk."""

import io
import os
import resource
import signal
import stat
import subprocess
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import cli_oracle as oracle

X = np.random.default_rng(3).normal(5, 2, (6, 2, 40)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "x.npy", X)
    save_file({"running_mean": np.zeros(2, np.float32), "running_var": np.ones(2, np.float32)},
              tmp_path / "s.safetensors")
    return tmp_path


def names(folder):
    return sorted(p.name for p in folder.iterdir())


OUTPUTS = {
    "apply OUT": (["apply", "x.npy", "out"], "out"),
    "apply --save-moments": (["apply", "x.npy", "y.npy", "--save-moments", "out"], "out"),
    "apply --save-state": (["apply", "x.npy", "y.npy", "--state", "s.safetensors", "--train", "--save-state", "out"],
                           "out"),
    "moments -o": (["moments", "x.npy", "-o", "out"], "out"),
    "denormalize OUT": (["denormalize", "x.npy", "out", "--moments", "m.safetensors"], "out"),
}


@pytest.fixture
def with_moments(folder):
    save_file({k: np.asarray(v, np.float64) for k, v in oracle.moments(X).items()}, folder / "m.safetensors")
    return folder


@pytest.mark.parametrize("case", OUTPUTS)
def test_an_existing_file_needs_force(run, with_moments, case):
    words, out = OUTPUTS[case]
    folder = with_moments
    (folder / out).write_text("precious")
    before = names(folder)
    done = run(*words, status=1, cwd=folder)
    assert out in done.error and "exists" in done.error
    assert names(folder) == before and (folder / out).read_text() == "precious"
    run(*words, "--force", cwd=folder)
    assert (folder / out).read_bytes() != b"precious"


@pytest.mark.parametrize("case", OUTPUTS)
def test_a_folder_that_is_not_there(run, with_moments, case):
    words, out = OUTPUTS[case]
    before = names(with_moments)
    words = ["missing/" + w if w == out else w for w in words]
    assert "missing/" + out in run(*words, status=1, cwd=with_moments).error
    assert names(with_moments) == before


@pytest.mark.parametrize("case", OUTPUTS)
def test_an_output_that_is_a_folder(run, with_moments, case):
    words, out = OUTPUTS[case]
    (with_moments / out).mkdir()
    before = names(with_moments)
    run(*words, status=1, cwd=with_moments)
    run(*words, "--force", status=1, cwd=with_moments)
    assert names(with_moments) == before


@pytest.mark.parametrize("case", OUTPUTS)
@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_modes_follow_the_umask(run, with_moments, case, mask, mode):
    words, out = OUTPUTS[case]
    run(*words, cwd=with_moments, umask=mask)
    assert stat.S_IMODE((with_moments / out).stat().st_mode) == mode


def test_the_input_may_be_the_output(run, folder):
    for env in {}, {"INSTNORM_BLOCK_BYTES": "1"}:
        np.save(folder / "x.npy", X)
        assert "exists" in run("apply", "x.npy", "x.npy", status=1, cwd=folder).error
        run("apply", "x.npy", "x.npy", "--force", cwd=folder, env=env)
        oracle.assert_close(np.load(folder / "x.npy"), oracle.instance_norm(X), np.float32)


@pytest.mark.parametrize("words", [
    ["y.npy", "--save-moments", "y.npy"],
    ["y.npy", "--save-moments", "./y.npy"],
    ["y.npy", "--state", "s.safetensors", "--train", "--save-state", "sub/../y.npy"],
    ["y.npy", "--save-moments", "z", "--state", "s.safetensors", "--train", "--save-state", "z"],
], ids=str)
def test_two_outputs_in_one_file(run, folder, words):
    (folder / "sub").mkdir()
    assert "same file" in run("apply", "x.npy", *words, "--force", status=2, cwd=folder).error
    assert names(folder) == ["s.safetensors", "sub", "x.npy"]


@pytest.mark.parametrize("words, said", [
    (["apply", "missing.npy", "y.npy"], "missing.npy: No such file"),
    (["apply", ".", "y.npy"], ".: is a directory"),
    (["apply", "x.npy", "y.npy", "--state", "missing"], "missing"),
    (["apply", "x.npy", "y.npy", "--state", "x.npy"], "x.npy"),
    (["apply", "x.npy", "y.npy", "--moments", "missing"], "missing"),
    (["apply", "x.npy", "y.npy", "--moments", "."], "."),
    (["moments", "missing.npy"], "missing.npy: No such file"),
    (["moments", "s.safetensors"], "s.safetensors: not an .npy file"),
    (["denormalize", "missing.npy", "y.npy", "--moments", "s.safetensors"], "missing.npy: No such file"),
    (["denormalize", "x.npy", "y.npy", "--moments", "s.safetensors"], 's.safetensors: no moments: there is no "count"'),
], ids=str)
def test_inputs_that_are_not_there_or_something_else(run, folder, words, said):
    done = run(*words, status=1, cwd=folder)
    assert said in done.error and done.text == ""
    assert names(folder) == ["s.safetensors", "x.npy"]


def test_a_pipe_is_refused_at_once(run, folder):
    os.mkfifo(folder / "pipe")
    assert "not a regular file" in run("apply", "pipe", "y.npy", status=1, cwd=folder).error


@pytest.mark.parametrize("name", [b"with space.npy", b"line\nbreak.npy", b"\xff\xfe.npy", b"-dash.npy",
                                  b"[brackets].npy", b"\"quote'.npy", "\u00e4\u4e00.npy".encode()])
def test_names_of_any_bytes(run, folder, name):
    path = os.fsencode(folder) + b"/" + name
    os.rename(folder / "x.npy", path)
    run("apply", path, path + b".out")
    with open(path + b".out", "rb") as f:
        oracle.assert_close(np.load(f), oracle.instance_norm(X), np.float32)
    run("apply", b"--", name, b"-y", cwd=folder)
    assert (folder / "-y").exists()
    with open(path, "wb"):
        pass
    assert "the file is empty" in run("apply", path, path + b".2", status=1).error


def test_words_after_an_equals_sign_and_negative_numbers(run, folder):
    run("apply", "x.npy", "y.npy", "--eps=0.1", "--save-moments=a=b", cwd=folder)
    assert load_file(folder / "a=b").keys() == {"count", "mean", "m2"}
    run("apply", "x.npy", "z.npy", "--state", "s.safetensors", "--train", "--momentum", "-0.1", cwd=folder)


# More than the kilobyte that the run time of a sanitizer writes before the command begins.
def test_a_write_limit_is_an_error_and_leaves_nothing(run, folder):
    for words in (["y.npy"], ["y.npy", "--save-moments", "m"]):
        done = run("apply", "x.npy", *words, status=1, cwd=folder,
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)))
        assert "y.npy" in done.error and "large" in done.error
        assert names(folder) == ["s.safetensors", "x.npy"]


def test_when_the_second_file_fails_neither_is_there(run, folder):
    np.save(folder / "x.npy", np.zeros((100, 100, 2), np.float32))  # moments are larger than the array
    done = run("apply", "x.npy", "y.npy", "--save-moments", "m", status=1, cwd=folder,
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000)))
    assert " m:" in done.error
    assert names(folder) == ["s.safetensors", "x.npy"]


def test_a_full_disk(run, folder):
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        np.save(folder / "x.npy", np.zeros((10, 10, 100), np.float32))
        assert "No space left" in run("apply", "x.npy", "disk/y.npy", status=1, cwd=folder).error
        assert names(disk) == []
        (disk / "y.npy").write_text("precious")
        run("apply", "x.npy", "disk/y.npy", "--force", status=1, cwd=folder)
        assert names(disk) == ["y.npy"] and (disk / "y.npy").read_text() == "precious"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_output_may_go_through_a_pipe(binary, folder):
    done = subprocess.run([binary, "apply", "x.npy", "/dev/stdout"], cwd=folder, capture_output=True, check=True)
    oracle.assert_close(np.load(io.BytesIO(done.stdout)), oracle.instance_norm(X), np.float32)


def test_standard_output_that_cannot_be_written(run, folder, binary):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    for words in (["moments", "x.npy", "-o", "m"], ["apply", "x.npy", "y.npy", "--explain"], ["info"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([binary, *words], stdout=full, stderr=subprocess.PIPE, cwd=folder)
        assert done.returncode == 1 and b"standard output" in done.stderr
    assert names(folder) == ["s.safetensors", "x.npy"]


def default_signals():
    """In the child: whoever started the tests may have had these ignored, as nohup and `&` do."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def slow(binary, folder):
    """A run that takes seconds, one instance a block; started once its temporary files are there."""
    (folder / "s.safetensors").unlink()
    started = []

    def start(*words, instances=2_000_000, preexec_fn=default_signals, **options):
        with open(folder / "x.npy", "wb") as f:
            np.lib.format.write_array_header_1_0(f, {"descr": "<f4", "fortran_order": False, "shape": (instances, 1, 50)})
            f.truncate(f.tell() + instances * 50 * 4)
        all_there = len(names(folder)) + (2 if "--save-moments" in words else 1)
        process = subprocess.Popen([binary, "apply", "x.npy", "y.npy", "--threads", "1", *words], cwd=folder,
                                   preexec_fn=preexec_fn,
                                   env={**os.environ, "INSTNORM_BLOCK_BYTES": "1"}, stderr=subprocess.PIPE, **options)
        started.append(process)
        deadline = time.monotonic() + 20
        while len(names(folder)) < all_there and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(names(folder)) == all_there and process.poll() is None
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
@pytest.mark.parametrize("words", [[], ["--save-moments", "m"]], ids=["one output", "two outputs"])
def test_a_signal_ends_it_and_leaves_nothing(slow, folder, number, words):
    process = slow(*words)
    process.send_signal(number)
    process.wait(timeout=20)
    assert process.returncode == -number
    assert names(folder) == ["x.npy"]


def test_a_signal_leaves_the_old_file(slow, folder):
    (folder / "y.npy").write_text("precious")
    process = slow("--force")
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)
    assert names(folder) == ["x.npy", "y.npy"] and (folder / "y.npy").read_text() == "precious"


def test_when_the_second_name_is_taken_meanwhile_it_says_what_is_there(slow, folder):
    process = slow("--save-moments", "m", instances=200_000)
    process.send_signal(signal.SIGSTOP)
    assert not (folder / "y.npy").exists(), "it was over before the test could take the name"
    (folder / "m").write_text("precious")
    process.send_signal(signal.SIGCONT)
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    assert " m: " in error and error.endswith("; complete and in place: y.npy\n") and error.count("\n") == 1
    assert names(folder) == ["m", "x.npy", "y.npy"] and (folder / "m").read_text() == "precious"


def test_an_ignored_signal_stays_ignored(slow, folder):
    process = slow(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None


def test_killed_without_a_chance_it_leaves_the_old_file(slow, folder):
    process = slow()
    process.kill()
    process.wait()
    assert not (folder / "y.npy").exists()
    (folder / "y.npy").write_text("precious")
    process = slow("--force")
    process.kill()
    process.wait()
    assert (folder / "y.npy").read_text() == "precious"


def test_a_progress_bar_on_a_terminal_only(slow, folder):
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    process = slow()
    process.kill()
    process.wait()
    process = subprocess.Popen(process.args, cwd=folder, stderr=follower,
                               env={**os.environ, "INSTNORM_BLOCK_BYTES": "1"})
    os.close(follower)
    try:
        shown = b""
        while shown.count(b"%") < 2:
            shown += os.read(leader, 1000)
        assert b"[" in shown and b"s left" in shown
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def test_nothing_is_drawn_when_it_is_quick(binary, folder):
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    subprocess.run([binary, "apply", "x.npy", "y.npy"], cwd=folder, stderr=follower, check=True)
    os.close(follower)
    with pytest.raises(OSError):  # the end of a terminal that nobody wrote to
        os.read(leader, 1)
    os.close(leader)

"""What containers, services and people's folders do to the program: closed streams, no name, no home, odd paths."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import scipy_openblas32

ROOT = Path(__file__).resolve().parent.parent
ODD = 'Anna\'s 100% "voice", take #2'
COMMAND = [sys.executable, "-m", "vocalsynth_utils"]


def ran(command, *words, **options):
    """A finished process; its streams as text."""
    options = {"capture_output": True, "text": True, **options}
    return subprocess.run([*map(str, command), *map(str, words)], **options)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_hinder_nothing(tmp_path, closed):
    made = tmp_path / "v.wav"
    for words, status in (["voice", made, "--seconds", 1], 0), (["generate", "nobody", made, "--seconds", 1], 2):
        done = ran(["bash", "-c", f'"$@" {closed}', "bash"], *COMMAND, *words)
        assert done.returncode == status and "Traceback" not in done.stderr
        assert ("nobody" in done.stderr) == (status == 2 and "2>&-" not in closed)
    assert made.stat().st_size == 44 + 2 * 16000  # nothing that was printed went into it


@pytest.mark.slow
def test_a_user_without_a_name_and_a_home_sings(tmp_path):
    nobody = [
        "unshare",
        "--map-user=43210",
        "--map-group=43210",
        "env",
        "-i",
        f"PATH={os.defpath}",
        f"PYTHONPATH={ROOT}",
        "VOCALSYNTH_QUIET=1",
    ]
    if not shutil.which("unshare") or ran(nobody, "true").returncode:
        pytest.skip("no other user can be had here")
    code = "import os, pwd; print(os.getuid() in {entry.pw_uid for entry in pwd.getpwall()}, os.path.expanduser('~'))"
    assert ran(nobody, sys.executable, "-c", code).stdout == "False ~\n"
    out = tmp_path / "v.wav"
    done = ran(nobody, *COMMAND, "generate", "world-units", out, "--seconds", 1, "--primer", "none", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and out.stat().st_size == 44 + 2 * 16000


@pytest.mark.slow
def test_an_odd_path_of_the_environment_and_the_checkout_works(tmp_path):
    odd = tmp_path / ODD
    (odd / "packages").mkdir(parents=True)
    (odd / "packages" / "scipy_openblas32").symlink_to(Path(scipy_openblas32.__file__).parent)
    (odd / "vocalsynth_utils").symlink_to(ROOT / "vocalsynth_utils")
    code = (
        f"import sys; sys.path[:0] = ['.', 'packages']; sys.prefix = {str(odd)!r}; "
        "import scipy_openblas32; from pathlib import Path; "
        f"scipy_openblas32.get_lib_dir = lambda: str(Path('packages/scipy_openblas32/lib').absolute()); "
        "from vocalsynth_utils.fused import native; import numpy as np, theano, theano.tensor as T; "
        "x = T.matrix(); print(theano.function([x], 2 * x)(np.ones((1, 1), 'float32')), native.unavailable(), "
        "theano.config.base_compiledir == sys.prefix + '/cache/vocalsynth_utils/theano')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "THEANO_FLAGS"}
    done = ran([sys.executable, "-c", code], cwd=odd, env=environment)
    assert done.stdout == "[[2.]] None True\n", done.stderr
    assert list((odd / "cache" / "vocalsynth_utils").glob("native-*.so"))

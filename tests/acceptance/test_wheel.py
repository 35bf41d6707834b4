"""The wheel has all that the program needs: installed elsewhere, it runs without the repository."""

import os
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build(kind: str, folder: Path) -> Path:
    """The archive that `kind`, `wheel` or `sdist`, makes of the repository."""
    program = f"from poetry.core.masonry import api; print(api.build_{kind}({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    return folder / done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def files_of_the_package() -> set[str]:
    """All but what Python makes of them."""
    found = (path for path in (ROOT / "tesp_api").rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(next(n for n in archive.namelist() if n.endswith("/METADATA"))).decode()
    assert names == files_of_the_package()
    assert "Provides-Extra: otel" in metadata


def test_the_source_archive_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        archive.extractall(tmp_path / "sources", filter="data")
    (sources,) = (tmp_path / "sources").iterdir()
    program = "from poetry.core.masonry import api; print(api.build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=sources, capture_output=True, text=True, timeout=120, check=True
    )
    with zipfile.ZipFile(sources / done.stdout.strip()) as again, zipfile.ZipFile(wheel) as first:
        assert set(again.namelist()) == set(first.namelist())


@pytest.mark.services
def test_installed_alone_it_runs_a_task(wheel: Path, tmp_path: Path) -> None:
    """The packages that it depends on are those of the tests; the repository is not to be seen."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], timeout=120, check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], timeout=120, check=True
    )
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TESP_"))
    }
    said = subprocess.run(
        [python, "-c", "import tesp_api; print(tesp_api.__path__[0])"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert Path(said.stdout.strip()) == packages / "tesp_api"
    demo = subprocess.run(
        [environment / "bin" / "tesp", "demo"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert " s  COMPLETE  " in demo.stdout

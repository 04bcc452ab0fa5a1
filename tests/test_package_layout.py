"""The structure of the package: its public names, and which room may import which."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_cnn
import sklearn_cnn.datasets
import sklearn_cnn.inspection

ROOT = Path(sklearn_cnn.__file__).parent
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))

# A room may import itself, what is named here, and the modules at the root.
MAY_IMPORT = {
    "images": set(),
    "architectures": {"images"},
    "preprocessing": {"images"},
    "training": {"images"},
    "estimators": {"images", "architectures", "preprocessing", "training"},
    "datasets": {"images", "preprocessing"},
    "inspection": {"images", "architectures", "preprocessing", "training", "estimators"},
    "persistence": {"images", "architectures", "preprocessing", "training", "estimators"},
}


def imports(path):
    """Names of the modules of this package that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            if node.module and node.module.split(".")[0] == "sklearn_cnn":
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "sklearn_cnn")


@pytest.mark.parametrize(
    "module", [sklearn_cnn, sklearn_cnn.datasets, sklearn_cnn.inspection], ids=lambda m: m.__name__
)
def test_public_names_resolve_and_are_sorted(module):
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__doc__


def test_every_module_imports():
    for module in pkgutil.walk_packages([str(ROOT)], "sklearn_cnn."):
        importlib.import_module(module.name)


@pytest.mark.parametrize("path", [path for path in MODULES if "/" in path])
def test_a_room_imports_only_what_stands_below_it(path):
    room = path.split("/")[0]
    for module in imports(path):
        parts = module.split(".")
        assert len(parts) > 1, f"{path} imports from the package root"
        at_root = f"{parts[1]}.py" in MODULES
        assert at_root or parts[1] == room or parts[1] in MAY_IMPORT[room], f"{path} imports {module}"


@pytest.mark.parametrize("path", [path for path in MODULES if "/" not in path and path != "__init__.py"])
def test_modules_at_the_root_import_nothing_inside(path):
    assert not list(imports(path))


def test_two_modules_import_skorch():
    with_skorch = {
        path
        for path in MODULES
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "skorch")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "skorch" for alias in node.names))
    }
    assert with_skorch == {"training/_net.py", "training/_callbacks.py"}


def test_importing_the_package_imports_no_extra_and_prints_nothing():
    extras = {"matplotlib", "PIL", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime"}
    code = f"import sys, sklearn_cnn; print(sorted({extras} & {{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")

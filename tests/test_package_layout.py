"""The structure of the package: its public names, and which room may import which."""

import ast
import importlib
import io
import pkgutil
import re
import subprocess
import sys
import tokenize
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
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

TREES = {path: ast.parse((ROOT / path).read_text(encoding="utf-8")) for path in MODULES}


def room_of(path):
    """The folder of a module, or nothing for modules at the root."""
    return path.split("/")[0] if "/" in path else ""


def imports(path):
    """Names of the modules of this package that a file imports, wherever the import stands."""
    for node in ast.walk(TREES[path]):
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


def test_a_room_imports_only_what_stands_below_it():
    for path in MODULES:
        room = room_of(path)
        for module in imports(path) if room else ():
            parts = module.split(".")
            assert len(parts) > 1, f"{path} imports from the package root"
            at_root = f"{parts[1]}.py" in MODULES
            assert at_root or parts[1] == room or parts[1] in MAY_IMPORT[room], f"{path} imports {module}"


def test_modules_at_the_root_import_nothing_inside():
    for path in MODULES:
        if not room_of(path) and path != "__init__.py":
            assert not list(imports(path)), path


def test_no_modules_import_one_another_in_a_circle():
    files = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in MODULES}
    files = {f"sklearn_cnn.{name}": path for name, path in files.items() if name != "__init__"}
    graph = {name: [module for module in imports(path) if module in files] for name, path in files.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports go in a circle: {' <- '.join(error.args[1])}")


LONGEST = 400  # lines of a module
LONGEST_CODE = {"estimators/_classifier.py": 330, "estimators/_regressor.py": 330}  # lines without docstrings


def code_lines(path):
    """How many lines of a module are no docstring, no comment and not blank."""
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO((ROOT / path).read_text(encoding="utf-8")).readline):
        if token.type not in nothing:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def test_no_module_is_too_long():
    lengths = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in MODULES}
    lengths = {path: code_lines(path) if path in LONGEST_CODE else length for path, length in lengths.items()}
    assert {path: length for path, length in lengths.items() if length > LONGEST_CODE.get(path, LONGEST)} == {}


SCIKIT_LEARNS = {"_n_features_out", "_parameter_constraints", "_repr_html_", "_sk_visual_block_", "_get_doc_link"}
"""Private names that mean something to scikit-learn or IPython, which look them up on our objects."""


def is_private(name):
    return name.startswith("_") and not name.endswith("__") and name.strip("_").isidentifier()


def private_members(tree):
    """Private attributes and methods that a module gives to its objects."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.ClassDef):
            for statement in node.body:
                if isinstance(statement, ast.FunctionDef):
                    yield statement.name
                elif isinstance(statement, ast.Assign | ast.AnnAssign):
                    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                    names = (name for target in targets for name in ast.walk(target))
                    yield from (name.id for name in names if isinstance(name, ast.Name))


def private_uses(tree):
    """Private names that a module reads from an object other than its own, with their lines; also as strings."""
    in_text = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.attr, node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in in_text:
            yield node.value, node.lineno


def test_no_private_attribute_crosses_rooms():
    owners = {}
    for path, tree in TREES.items():
        for name in filter(is_private, private_members(tree)):
            owners.setdefault(name, set()).add(room_of(path))
    crossing = [
        f"{path}:{line} uses {name} of {', '.join(sorted(owners[name]))}"
        for path, tree in TREES.items()
        for name, line in private_uses(tree)
        if is_private(name) and name not in SCIKIT_LEARNS and room_of(path) not in owners.get(name, {room_of(path)})
    ]
    assert crossing == []


def test_no_private_name_is_imported_from_another_module():
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn_cnn"):
                names = {alias.name for alias in node.names if is_private(alias.name)}
                at_root = {name for name in names if node.module == "sklearn_cnn" and f"{name}.py" in MODULES}
                assert names == at_root, f"{path} imports {names} from {node.module}"


def house_drawn():
    """Patterns of the modules that docs/design.md draws, as paths within the package."""
    page = (ROOT.parent / "docs" / "design.md").read_text(encoding="utf-8")
    drawing = re.search(r"^sklearn_cnn/\n((?:  .*\n)+)", page, flags=re.M)
    assert drawing, "docs/design.md draws no house"
    room = ""
    for indent, name in re.findall(r"^( +)(\S+)", drawing[1], flags=re.M):
        if name.endswith("/"):
            room = name
        elif name.endswith(".py"):
            yield name if len(indent) == 2 else room + name


def test_the_house_that_the_design_draws_is_the_one_that_is_there():
    drawn = list(house_drawn())
    there = [path for path in MODULES if path == "__init__.py" or not path.endswith("/__init__.py")]
    assert [path for path in there if not any(fnmatch(path, pattern) for pattern in drawn)] == [], "not drawn"
    assert [pattern for pattern in drawn if not any(fnmatch(path, pattern) for path in there)] == [], "not there"


def test_two_modules_import_skorch():
    with_skorch = {
        path
        for path in MODULES
        for node in ast.walk(TREES[path])
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "skorch")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "skorch" for alias in node.names))
    }
    assert with_skorch == {"training/_net.py", "training/_callbacks.py"}


def test_importing_the_package_imports_no_extra_and_prints_nothing():
    # triton is no extra, but takes 0.2 s; torch's counter of multiply-adds imports it.
    extras = {"matplotlib", "PIL", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime", "triton"}
    code = f"import sys, sklearn_cnn; print(sorted({extras} & {{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")

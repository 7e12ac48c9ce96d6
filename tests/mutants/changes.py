"""One-line changes of a module, each of which some test should notice.

Changes are made to what runs: not to docstrings, annotations, texts for people, or what is written to the log of a program. The
figures that a module names at its top (`RETRY_S: Final = 1.0`) are choices, not decisions, and stay as well.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

COMPARED: Final[Mapping[type[ast.cmpop], str]] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
COUNTED: Final[Mapping[type[ast.operator], str]] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.Div: "*",
    ast.Mod: "//",
}
IN_QUERIES: Final = (
    (" FOR UPDATE", ""),
    (" AND ", " OR "),
    (" <= ", " < "),
    (" < ", " <= "),
    (" >= ", " > "),
    (" > ", " >= "),
    (" IS NULL", " IS NOT NULL"),
    (" DESC", ""),
    (" ON CONFLICT DO NOTHING", ""),
    ("count(DISTINCT", "count("),
)
QUERY: Final = ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")
LINKS: Final = frozenset({"with_for_update", "on_conflict_do_nothing", "order_by", "limit", "where"})
"""Links of a chain that makes a query; each may be missing."""
LOGS: Final = ("log.",)


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One change: the bytes from `begin` to `end` of a file become `instead`.

    Attributes:
        path: the file, from the root of the checkout.
        line: the first line it touches, from 1.
        kind: the change, in two words.
        begin, end: places in the file's bytes.
        instead: what stands there then.
    """

    path: str
    line: int
    kind: str
    begin: int
    end: int
    instead: str

    def of(self, source: bytes) -> bytes:
        """The file with the change in it."""
        return source[: self.begin] + self.instead.encode() + source[self.end :]

    def shown(self, source: bytes) -> str:
        """The lines before and after, for people: `- … + …`."""
        first = source.rfind(b"\n", 0, self.begin) + 1
        last = source.find(b"\n", self.end) % (len(source) + 1)
        written = source[first:last].decode()
        changed = (source[first : self.begin] + self.instead.encode() + source[self.end : last]).decode()
        return f"- {' '.join(written.split())}\n+ {' '.join(changed.split())}"


def changes_of(path: str, source: bytes) -> list[Change]:
    """All changes of a module, in the order in which they stand there."""
    walk = _Walk(path, source)
    walk.visit(ast.parse(source))
    return sorted(set(walk.found))


class _Walk(ast.NodeVisitor):
    def __init__(self, path: str, source: bytes) -> None:
        self.path = path
        self.source = source
        self.found: list[Change] = []
        self._begins = [0]
        for line in source.splitlines(keepends=True):
            self._begins.append(self._begins[-1] + len(line))

    def place(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin = self._begins[node.lineno - 1] + node.col_offset
        return begin, self._begins[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        begin, end = self.place(node)
        return self.source[begin:end].decode()

    def change(self, kind: str, node: ast.expr | ast.stmt, instead: str) -> None:
        begin, end = self.place(node)
        self.found.append(Change(self.path, node.lineno, kind, begin, end, instead))

    def between(self, kind: str, left: ast.expr, right: ast.expr, instead: str) -> None:
        """Change what stands between two operands; brackets around them stay."""
        begin, end = self.place(left)[1], self.place(right)[0]
        written = self.source[begin:end].decode()
        bare = written.strip(") (\n")
        if bare:
            at = begin + len(written[: written.index(bare)].encode())
            self.found.append(Change(self.path, left.lineno, kind, at, at + len(bare.encode()), instead))

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            self.between("comparison", left, right, COMPARED[type(operator)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        word = "or" if isinstance(node.op, ast.And) else "and"
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between("and/or", left, right, word)
        for left_out in node.values:
            kept = [f"({self.text(value)})" for value in node.values if value is not left_out]
            rest = (" and " if isinstance(node.op, ast.And) else " or ").join(kept)
            self.change("one half", node, rest if len(kept) == 1 else f"({rest})")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self.change("not", node, f"bool({self.text(node.operand)})")
        elif isinstance(node.op, ast.USub):
            self.change("sign", node, f"({self.text(node.operand)})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        word = COUNTED.get(type(node.op))
        if word is not None and not any(_is_text(side) for side in (node.left, node.right)):
            self.between("arithmetic", node.left, node.right, word)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.change("left out", node, "pass")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.change("constant", node, str(not node.value))
        elif isinstance(node.value, int):
            self.change("constant", node, str(node.value + 1))
        elif isinstance(node.value, float):
            self.change("constant", node, repr(node.value * 2 + 1))
        elif isinstance(node.value, str):
            self._queries(node)

    def _queries(self, node: ast.Constant) -> None:
        written = self.text(node)
        if not any(word in written for word in QUERY):
            return
        begin, _ = self.place(node)
        for word, instead in IN_QUERIES:
            at = written.find(word)
            while at >= 0:
                place = begin + len(written[:at].encode())
                line = node.lineno + written[:at].count("\n")
                self.found.append(Change(self.path, line, "query", place, place + len(word.encode()), instead))
                at = written.find(word, at + 1)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Texts with holes are for people, or are tried as a whole."""

    def visit_If(self, node: ast.If) -> None:
        if self.text(node.test) == "TYPE_CHECKING":
            return
        self.change("condition", node.test, f"not ({self.text(node.test)})")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.change("condition", node.test, f"(not ({self.text(node.test)}))")
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.change("result", node.value, "None")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.change("left out", node, "pass")
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        self.change("loop", node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.change("loop", node, "break")

    def visit_Expr(self, node: ast.Expr) -> None:
        written = self.text(node)
        if isinstance(node.value, ast.Constant) or written.startswith(LOGS):
            return  # a docstring, or the log of a program
        if isinstance(node.value, ast.Call | ast.Await):
            self.change("left out", node, "pass")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in LINKS:
            self.change("query", node, self.text(node.func.value))
        if isinstance(node.func, ast.Name) and node.func.id == "Field":
            return
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        """Says what is so; nothing depends on it."""

    def visit_Module(self, node: ast.Module) -> None:
        for statement in node.body:
            if not (isinstance(statement, ast.Assign | ast.AnnAssign) and _is_figure(statement.value)):
                self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """Names and annotations of parameters."""

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.visit(node.args)
        for statement in node.body:
            self.visit(statement)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:  # what a decorator says of a class, such as `frozen`, decides nothing
            self.visit(statement)


def _is_figure(node: ast.expr | None) -> bool:
    """A number, or a product or sum of such: `8 * 1024`."""
    if isinstance(node, ast.BinOp):
        return _is_figure(node.left) and _is_figure(node.right)
    return isinstance(node, ast.Constant)


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.JoinedStr):
        return True
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)

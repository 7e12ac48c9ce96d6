"""The definition of a problem, independent of a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter


@dataclass(frozen=True, slots=True)
class Text:
    """The same words for a member who reads Chinese and for one who reads English."""

    zh: str
    en: str

    def in_language(self, lang: str) -> str:
        return self.en if lang == "en" else self.zh


Words = Mapping[str, Mapping[str, Text]]


def _names_in(text: Text) -> frozenset[str]:
    return frozenset(name for words in (text.zh, text.en) for _, name, _, _ in Formatter().parse(words) if name)


@dataclass(frozen=True, slots=True)
class Variant:
    """A better sentence for when more is known.

    Used when every extra member that it names in braces, or in `when`, is there and is neither null, false nor empty.
    """

    text: Text
    when: tuple[str, ...] = ()
    needs: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs", _names_in(self.text) | set(self.when))

    def fits(self, extra: Mapping[str, object]) -> bool:
        return all(_is_known(extra.get(name)) for name in self.needs)


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of the catalogue.

    `detail` needs nothing and always fits; the first of `variants` that fits goes before it. `words` says how coded
    values of an extra member are put in a sentence (`words["state"]["draft"]`); a value without words stands as it is.
    `explanation` is for the page at `type`: the event, and the advice to the reader. After
    `retry_after_s` seconds, if there are any, a client may repeat the same request by itself.
    """

    slug: str
    status: int
    title: Text
    detail: Text
    explanation: Text
    variants: tuple[Variant, ...] = ()
    words: Words = field(default_factory=dict)
    retry_after_s: int | None = None

    @property
    def type(self) -> str:
        """Address of its page, and the `type` of the answer."""
        return f"/problems/{self.slug}"

    def detail_for(self, lang: str, extra: Mapping[str, object]) -> str:
        """The sentence that says most with what is known in this case."""
        for variant in self.variants:
            if variant.fits(extra):
                sentence = variant.text.in_language(lang)
                return sentence.format_map({name: self._render(name, extra[name], lang) for name in variant.needs})
        return self.detail.in_language(lang)

    def _render(self, name: str, value: object, lang: str) -> str:
        if isinstance(value, list | tuple):
            return ("; " if lang == "en" else "；").join(self._render(name, part, lang) for part in value)
        known = self.words.get(name, {}).get(str(value))
        return known.in_language(lang) if known else str(value)


def _is_known(value: object) -> bool:
    # 0 is known: "you have 0 points" is worth saying.
    return value is not None and value is not False and value not in ("", (), [])

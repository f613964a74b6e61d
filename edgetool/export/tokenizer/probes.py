"""Texts over which tokenizers part."""

from __future__ import annotations

from itertools import product

# Contractions, digit runs, white space runs, accents, scripts, emoji, code.
PROBES = (
    "Hello World! I'm sure you'll've seen it's 'S 'T done",
    "3 33 333 3333 33333 3.14 1,000,000 ½ ² ٣",
    " a  b   c    d\t\te \n f\n\n\n g\r\n  \n \t ",
    "naïve Ångström İstanbul 你好，世界 한국어 हिन्दी",
    "🚀👩\u200d👩\u200d👧 …—“quoted” \u00a0nbsp\u2003em",
    '{"name":"get_weather","arguments":{"city":"Oslo","days":3,"x":[1.5,null,true]}}',
    "__init__(self, *args)->None: #!/usr/bin/env <a href='x'>&amp;</a> ===== ////",
)
# More of what pre-tokenizers treat differently, and no vocabulary has to write.
CUTS = (
    *PROBES,
    "I'M WE'LL they'd 'tis O'Neill's don'T a's9 's's",
    "1 12 123 1234 12345 123456 1234567 x1y22z333 v2.10.3 ١٢٣٤ Ⅻ ½¾ 1a2b",
    "e\u0301e\u0301 नि की க\u0bbf g\u0308 \u0301alone ก็ไม่",
    "日本語テキスト、中文。한국어 文字123混ぜる ｆｕｌｌ",
    "Привет мир שלום مرحبا Ελλάδα ǅ ß ẞ İ ı",
    "a!b!!c!!! ...,,;;:: (x) [y] {z} <w> ~`^|\\$+=<> @user #tag http://a.b/c?d=e&f=%20",
    "def f(x):\n\n\n\treturn x  # y\r\n\r\n  if (a&&b)||!c{}\n/* z */\n//\n",
    "   lead trail   \n   \n x\t\t y\u00a0z\u3000w\u200b\ufeffq \n",
    "🇳🇴👍🏽👨\u200d👩\u200d👧 ☃️ ★ € £5 50% №7 «q» ‘r’ CamelCaseWord HTTPServer iPhone15",
)
# One of each kind of character that a regular expression can tell apart.
KINDS = (
    "aZéÅ中あ한اǅʰ\u0301\u093f1٣½./'$€—_( \n\r\t\u00a0\u3000\u200b🚀"  # letters, marks, digits, ...
)


def every_three() -> list[str]:
    """Every two kinds of characters alone, and every three within longer texts."""
    pairs = ["".join(pair) for pair in product(KINDS, repeat=2)]
    return [*pairs, *("".join(pair + third for third in KINDS) for pair in pairs)]

r"""Tables of spellings: the many spellings of LaTeX, Unicode and prose, and the one that `normal_form.clean` replaces them by.

1. `SYMBOLS` are single characters; `REWRITES` are patterns of LaTeX, in the order in which they are applied.
2. `UNIT_RATIO`, `UNIT_PRODUCT`, `TEXT` and `PLAIN_TEXT` find prose inside wrappers such as `\text{...}`; `UNITS`, `MEASURES` and
   `UNIT_SYMBOL` are the units.
3. `PROSE` holds the patterns of prose that are rewritten last, after the wrappers have been removed.

What is left out: anything that needs to count brackets (`normal_form.py`).
"""

import re

SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "―": "-", "˗": "-", "➖": "-", "∞": r"\infty ",
    "π": r"\pi ", "×": r"\times ", "✕": r"\times ", "✖": r"\times ", "⨯": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
    "∙": r"\cdot ", "∗": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ",
    "⩽": r"\leq ", "≦": r"\leq ", "⩾": r"\geq ", "≧": r"\geq ", "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "∅": r"\emptyset ", "±": r"\pm ", "°": r"^\circ ", "º": r"^\circ ", "∘": r"^\circ ",
    "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "θ": r"\theta ", "λ": r"\lambda ", "φ": r"\phi ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}",
    "⟨": "(", "⟩": ")", "〈": "(", "〉": ")", "′": "'", "’": "'", "∶": ":", "∣": "|", "、": ",",
    "٫": ".", "٬": ",", "،": ",", "؛": ";", "٪": "%", "\u2062": r"\cdot ", "\u2063": ",", "\u2064": "+",
    "∠": r"\angle ", "△": r"\triangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "≡": r"\equiv ", "∖": r"\setminus ", "⋯": "...", "“": "", "”": "", "„": "", "«": "", "»": "", "‘": "'",
    "Ω": r"\Omega ", "μ": r"\mu ", "€": r"\euro ",
    "£": r"\pounds ", "¥": r"\yen ", "₹": r"\rupee ", "₩": r"\won ", "₽": r"\ruble ", "✓": "", "✔": "", "✅": "",
}  # fmt: skip
INVISIBLE = re.compile("[\u061c\u180e\u200b-\u200f\u202a-\u202d\u2060\u2061\u2066-\u2069\ufe00-\ufe0f\u20e3\ufeff]")
"""Direction marks, joiners and other characters that show nothing. The override U+202E is none of them: it turns 24 into 42."""

RADICALS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}

WRAPPERS = (
    r"(?:text(?:bf|it|rm|sf|tt|sc|up|normal)?|math(?:rm|bf|it|sf|tt)|[mh]box|operatorname\*?|emph|bm|boldsymbol|pmb"
    r"|underline|ensuremath)"
)

_THOUSAND = r"(?<=\d)(?<!\d{4})(?<!(?<!\d)0)"
"""Before a thousands separator: one to three digits, which are not a 0 alone."""

_FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|csc|ln|log|exp"
"""Names of functions that answers write without a backslash; `sec` stands for seconds as well."""

_DEGREES = r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-z]))|\^?\s*\{?\\degrees?(?![a-z])\}?"
_TRIGONOMETRIC = r"(\\(?:sin|cos|tan|cot|sec|csc)(?:\s*\^\s*\{?\d\}?)?\s*[({]?\s*-?\s*)(\d+(?:\.\d+)?)"
"""A function with the number at the beginning of its argument."""

_AMOUNT = r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
_CURRENCIES = (
    (r"(?:(?:USD?|US\sD|CAD|AUD)\s*\\?\$?|\\\$)", "dollars"),
    (r"(?:\\euro(?![A-Za-z])|EUR)", "euros"),
    (r"(?:\\pounds(?![A-Za-z])|GBP)", "pounds"),
    (r"\\yen(?![A-Za-z])", "yenyuan"),
    (r"(?:\\rupee(?![A-Za-z])|INR|Rs\.?|\\(?:text|mathrm)\{\s*(?:INR|Rs\.?)\s*\})", "rupees"),
    (r"\\won(?![A-Za-z])", "won"),
    (r"\\ruble(?![A-Za-z])", "rubles"),
)
"""Signs and codes before or after an amount, and the unit that each stands for where nothing else is said."""
_CURRENCY = (
    r"\\\$|\$|\\(?:euro|pounds|yen|rupee|won|ruble)(?![A-Za-z])"
    r"|^\s*(?:US\s?D?|EUR|GBP|INR|CAD|AUD|Rs\.?)\s*(?=\\?\$?\s*\d)"
)

# Applied in order; each row is the pattern of a spelling, and its replacement.
UNFINISHED = "\N{HORIZONTAL ELLIPSIS}"
"""What stands for dots after a digit: the number goes on."""

REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"<\|[^|<>]{1,40}\|>", ""),  # chat tokens
        (r"\s+", " "),
        (r"^\\+\[|\\+\]$|^\\+\(|\\+\)$|(?<!\\)\\[()]", " "),  # math delimiters
        (r"\\" + WRAPPERS + r"\s*\{\s*\}|^\s*\\(?:approx|sim|simeq)(?![a-z])", " "),
        (
            r"\\(?:textcolor|color|colorbox)\s*\{[^{}]*\}|\\color\s+[a-z]+\b|\\color(?=[a-z])(?:red|blue|green|black)",
            "",
        ),
        (r"\\tag\*?\s*\{[^{}]*\}|\\(?:checkmark|(?:black)?square|qed|Box)(?![A-Za-z])\s*$", " "),
        (r"\\begin\s*boxed(?=\{)", r"\\boxed"),
        (r"\\[hv]space\*?\s*\{[^{}]*\}|\\[hv]?phantom\s*\{[^{}]*\}", " "),
        (r"\\(?:bf|rm|it|tt|sf|bfseries|[lL]arge|LARGE|[hH]uge|small|normalsize|displaystyle)(?![A-Za-z])", " "),
        (r"\\(?:SI|qty)\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"\1 \\text{\2}"),
        (r"\\num\s*\{([^{}]*)\}|\{([-+])\}", r"\1\2"),
        (r"(?<=\d)\s*¢", r" \\text{cents}"),
        (r"\\backslash(?![a-z])", r"\\setminus "),
        (r"\\langle(?![a-z])", "("),
        (r"\\rangle(?![a-z])", ")"),
        (r"(?<=\d)\{\.\}(?=\d)", "."),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)\s*(?:\\(?:text|mathrm)\s*\{\s*)?([CF])(?![A-Za-z])\}?", r" \\unit{deg\1}"),
        (r"(?<=[\d\s])[xX](?=\s*10\s*\^)", r"\\times "),
        (r"(?<![A-Za-z\\])oo(?![A-Za-z])", r"\\infty "),
        (_THOUSAND + r"(?:\{,\}|\\text\{,\}|'|,\\! ?|\s*\\[!,]\s*)(?=\d{3}(?!\d))", ""),  # 1{,}000  1\,000  1,\!000
        (r"(?<=\d)(?:\{,\}|,?\s*\\!\s*|\s*\\,\s*)(?=\d{3}(?!\d))", ","),  # 0{,}125 is a decimal comma
        (r"\\!", ""),
        (r"(?<==)([^=]*?)[\s,;]*\\q?quad\s*(?=[A-Za-z]\w*(?:_\{\w+\})?\s*=)", r"\1, "),  # two equations
        (r"(?<!\\)\\[,;:> ]|\\q?quad|~|\\(?:display|text)style(?![a-z])|\\limits(?![a-z])", " "),
        (r"\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?", ""),
        (r"(?<=\d)\^\{?\s*\\(?:text|mathrm|rm)\s*\{?\s*(?:st|nd|rd|th)\s*\}{1,2}", ""),
        *(
            (rf"^\s*(-?)\s*{sign}\s*(-?{_AMOUNT})\s*$|^\s*(-?{_AMOUNT})\s*{sign}\s*$", rf"\1\2\3 \\text{{{name}}}")
            for sign, name in _CURRENCIES
        ),
        (_CURRENCY, ""),
        (r"\\(?:[dtcs]|nice|flat)frac(?![a-z])|(?<![A-Za-z\\])frac(?=\s*\{)", r"\\frac"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"\\frac\s*\{([^{}]*)\}\s*(\w)", r"\\frac{\1}{\2}"),
        (r"\\frac\s+\{", r"\\frac{"),
        (r"(?<=\})\s+(?=\{)", ""),
        (r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![\\A-Za-z])sqrt\s*(\d+)", r"\\sqrt{\1}"),
        (rf"(?<![\\A-Za-z])({_FUNCTIONS})(?=\s*[\d(^_]|\s+(?:[A-Za-z](?![A-Za-z])|\\))", r"\\\1 "),
        (r"\\sqrt\s*(\[[^\]]*\])?\s*(\d+|[A-Za-z])", r"\\sqrt\1{\2}"),
        (r"\*\*|\^\s+", "^"),
        (r"\^\(([^()]*)\)", r"^{\1}"),
        (r"\\%|(?<![A-Za-z])(?:percent(?:age)?|pct)(?![A-Za-z])", "%"),
        (r"\\" + WRAPPERS + r"\s*\{\s*%\s*\}", "%"),
        (_DEGREES, r"^\\circ "),
        (_TRIGONOMETRIC + r"\s*\^\\circ ", r"\1\\frac{\2\\pi}{180}"),
        (r"\^\\circ (?=\s*\d)", " "),  # 30 degrees 15 minutes
        (r"\^\\circ ", ""),
        (r"\\leq?(?![a-z])|<=|\\leqslant", r"\\leq "),
        (r"\\geq?(?![a-z])|>=|\\geqslant", r"\\geq "),
        (r"\\neq?(?![a-z])|!=", r"\\neq "),
        (r"\\lt(?![a-z])", "<"),
        (r"\\gt(?![a-z])", ">"),
        (r"\\varnothing(?![a-z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"\\mathbb\s*([A-Z])(?![A-Za-z])|(?<!\\)\\([RZNQC])(?![A-Za-z])", r"\\mathbb{\1\2}"),
        (
            r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}|^([^{}]*)\\choose(?![A-Za-z])([^{}]*)$",
            r"\\binom{\1\3}{\2\4}",
        ),
        (r"\\lbrace(?![a-z])", r"\\{"),
        (r"\\rbrace(?![a-z])", r"\\}"),
        (r"\\[lr]?vert(?![a-z])", "|"),
        (r"\\(?:[lc]?dots)(?![a-z])", "..."),
        (r"\\log_\{?e\}?", r"\\ln "),
        (r"\\begin\{[bB]matrix\}", r"\\begin{pmatrix}"),
        (r"\\end\{[bB]matrix\}", r"\\end{pmatrix}"),
        (r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![\\A-Za-z])(?:inf|infinity)(?![A-Za-z])", r"\\infty "),
        (r"(?<=[\])]) ?U ?(?=[\[(])", r" \\cup "),
        (r"\^\{\(([^()]*)\)\}", r"^{\1}"),
        (r"(?<=[,(\[])\s*\+\s*\\infty", r"\\infty"),
    )
)
# Applied in order, after the wrappers have been removed.
PROSE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"^\s*(?:the\s+)?(?:(?:final|correct)\s+)?(?:answer|option|choice)\s*(?:is|:|=)\s*:?", ""),
        (r"^\s*it\s+(?:is|equals)\s+", ""),
        (r"^\s*[a-z][a-z ']{2,80}\b(?:is|are|equals)\s+(?=[-+\\$\d])", ""),  # the total is 25
        (
            r"^\s*(?:about|approximately|exactly|roughly|around|therefore|thus|hence|simply|just|indeed),?\s+(?=[-+\\$\d])",
            "",
        ),
        (
            r"(?<=\d)\s*\((?!mod|base|(?:in )?(?:hundred|thousand|million|billion|trillion))[a-z][a-z -]{3,}\)\s*$",
            "",
        ),  # 42 (forty-two)
        (r"^\s*(?:negative|minus)\s+(?=[\\\d])", "-"),
        (r"^\s*(?:(?:the set of )?all real(?: number)?s|\(?-\s*\\infty\s*,\s*\+?\\infty\s*\))\s*$", r"\\mathbb{R}"),
        (r"^\s*(?:there (?:is|are) )?no (?:real )?solutions?\s*$|^\s*(?:the )?empty set\s*$", r"\\emptyset"),
        (r"^\s*does not exist\s*$", "DNE"),
        (r"(?<=\S)\s?[,;:(]?\s?(?<![a-z])(?:because|since)\s.*$", ""),  # C, because it fits
        (r"(?<=\d)\s+to\s+(?=\d+$)", ":"),
        (
            r"[,;]?\s*\(?\s*(?:where|for(?: all| every| any)?|with|\\forall)?\s*\b[a-z]\s*\\in\s*\\mathbb\{[ZN]\}\)?\s*$",
            "",
        ),
    )
)
FOR_ALL = re.compile(
    r"(?<=\S)\s?[,;]?\s?\(?(?:for (?:all|every|any) |\\forall ?)(?:real (?:numbers? )?)?[a-z]"
    r"(?: ?\\in ?\\mathbb ?(?:\{R\}|R))?\)?\s*$",
    re.IGNORECASE,
)
"""What says that an equation holds for every real number, after it."""

_OPPOSITE_WORDS = (
    ("increase increases increased", "decrease decreases decreased"), ("profit", "loss"), ("gain gains", "loss loses"),
    ("rise rises rose", "fall falls fell"), ("above", "below"), ("early earlier", "late later"), ("ahead", "behind"),
    ("clockwise", "counterclockwise anticlockwise counter-clockwise anti-clockwise"), ("north", "south"), ("east", "west"),
    ("taller", "shorter"), ("longer", "shorter"), ("faster", "slower"), ("heavier", "lighter"), ("older", "younger"),
    ("more", "less fewer"), ("deposit", "withdrawal"), ("maximum", "minimum"),
)  # fmt: skip
OPPOSITES = tuple((frozenset(a.split()), frozenset(b.split())) for a, b in _OPPOSITE_WORDS)
"""Words beside a number that say the opposite of each other."""

UNIT_NAMES = {
    "cm": "cm centimeter centimetre", "m": "m meter metre", "km": "km kilometer kilometre", "mm": "mm millimeter millimetre",
    "in": "in inch inches", "ft": "ft foot feet", "yd": "yd yard", "mi": "mi mile", "s": "s sec second",
    "min": "min minute", "h": "h hr hour", "day": "day", "week": "week", "month": "month", "year": "yr year",
    "kg": "kg kilogram", "g": "g gram", "mg": "mg milligram", "lb": "lb lbs pound", "oz": "oz ounce",
    "l": "l liter litre", "ml": "ml milliliter", "gallon": "gallon gal", "quart": "quart qt",
    "pint": "pint", "cup": "cup", "tablespoon": "tablespoon tbsp", "teaspoon": "teaspoon tsp", "ton": "ton", "tonne": "tonne",
    "acre": "acre", "hectare": "hectare", "decade": "decade", "century": "century centuries", "knot": "knot",
    "dollar": "dollar usd buck", "cent": "cent", "pence": "pence",
    "euro": "euro", "yuan": "yuan", "yen": "yen", "rupee": "rupee", "won": "won", "ruble": "ruble",
    "degree": "degree deg", "radian": "radian rad", "mph": "mph mi/h mile/hour",
    "km/h": "km/h kph kmh kilometer/hour", "m/s": "m/s meter/second", "J": "joule", "N": "newton", "W": "watt",
    "K": "kelvin", "Hz": "hertz hz", "degC": "degc celsius", "degF": "degf fahrenheit",
    "am": "am a.m", "pm": "pm p.m",
}  # fmt: skip
UNITS = {name: unit for unit, names in UNIT_NAMES.items() for name in names.split()}
"""The names of units that are known without a wrapper, and for each the one name that stands for all."""

_MEASURES = {
    "V": "volt", "A": "ampere amp", "C": "coulomb", "Pa": "pascal", "T": "tesla", "ohm": "", "mol": "mole", "eV": "electronvolt",
    "arcsec": "arcsecond", "arcmin": "arcminute", "angstrom": "", "um": "micron micrometer micrometre",
    "nm": "nanometer nanometre",
    "cal": "calorie", "atm": "atmosphere", "gauss": "", "erg": "", "dyn": "dyne", "pc": "parsec", "AU": "au", "ly": "lightyear",
    "Msun": "", "Lsun": "", "Rsun": "", "Mearth": "", "Rearth": "", "Learth": "", "sr": "steradian", "rpm": "", "bar": "",
    "yenyuan": "",  # what the sign ¥ stands for
}  # fmt: skip
MEASURES = {name: unit for unit, names in _MEASURES.items() for name in (unit, *names.split())} | {
    "G": "gauss",
    "M": "M",
    "Jy": "Jy",
}
"""Further units, known where a wrapper shows that a unit is meant."""

UNIT_SYMBOL = re.compile(r"([kMGTmcdunpf])?(m|g|s|A|K|mol|Hz|N|Pa|J|W|C|V|F|ohm|S|T|H|L|l|Wb|Bq|eV|pc|yr|cal|bar|B)")
"""A symbol with its prefix; the case of letters counts."""

_UNIT_TEXT = r"\\(?:text|mathrm)\s*\{([^{}]*)\}"
UNIT_PRODUCT = re.compile(rf"{_UNIT_TEXT}(\^\{{?-?\d\}}?)?\s*(/|\\(?:cdot|times)(?![a-z]))\s*{_UNIT_TEXT}")
UNIT_RATIO = re.compile(rf"(?<=[\d\s}}])\\frac\{{\s*{_UNIT_TEXT}\s*\}}\{{\s*{_UNIT_TEXT}(\^\{{?\d\}}?)?\s*\}}")
_CONTENT = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
TEXT = re.compile(r"(?:(?<=[\d})!.%])|(?<=\\pi)|(?<=\\pi )|(?<=\d[a-z]))(\s*)\\(" + WRAPPERS + r")\s*" + _CONTENT)
PLAIN_TEXT = re.compile(r"\\" + WRAPPERS + r"\s*" + _CONTENT)

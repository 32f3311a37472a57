"""What rules on prose ask of a text by its language: words that any text of some length has, and how long words are.

English as in Gopher (Rae et al. 2021, table A1): two of eight words, 3 to 10 characters a word, 50 to 100,000 words.
For the others frequent function words of ours, and lengths by how the language writes: where letters stand alone
(scripts.py), a word is a letter, so its length is near one, and there are more of them in a text. A code is ISO 639-1,
as lid.176 gives it, or 639-3, with whatever follows (`pt_BR`, `zho_Hans`)."""

# ruff: noqa: RUF001  letters of other alphabets are meant
import re
from typing import NamedTuple


class Language(NamedTuple):
    stop_words: frozenset[str]
    shortest: float = 3.0  # mean characters a word
    longest: float = 10.0
    letters_a_word: float = 0.0  # of a script without spaces, where stop words are parts of a run; 0: words are parted

    @property
    def size(self) -> float:
        """Words as they are counted in a word of English."""
        return self.letters_a_word or 1.0


def _spaced(words: str, shortest: float = 3.0, longest: float = 10.0) -> Language:
    return Language(frozenset(words.split()), shortest, longest)


def _unspaced(words: str, letters_a_word: float) -> Language:
    return Language(frozenset(words.split()), 1.0, 3.0, letters_a_word)


ENGLISH = _spaced("the be to of and that have with")
LANGUAGES = {
    "en": ENGLISH,
    "ar": _spaced("في من على إلى أن عن هذا التي مع لا ما هو", 2.5),
    "bg": _spaced("и на да се за от не в с че са по"),
    "bn": _spaced("এবং এই করে থেকে একটি না হয় জন্য তার যে", 2.5),
    "ca": _spaced("de la el que i en a per els les amb una"),
    "cs": _spaced("a se na v je že to s z do o pro"),
    "da": _spaced("og i at det er en til på som med for de"),
    "de": _spaced("der die und in zu den das nicht von mit ist auf", 3.0, 12.0),
    "el": _spaced("και το να του η της με που για στο από την"),
    "es": _spaced("de la que el en y a los se del las por"),
    "fa": _spaced("و در به از که این را با است برای آن یک", 2.5),
    "fi": _spaced("ja on ei että se oli hän mutta kun niin myös tai", 3.0, 12.0),
    "fr": _spaced("de la le et les des en un du une que est"),
    "he": _spaced("של את על לא הוא עם זה כל גם אני היא או", 2.5),
    "hi": _spaced("के में की है और से का को पर यह एक नहीं", 2.0),
    "hr": _spaced("i u je se na da su za od s kao ne"),
    "hu": _spaced("a az és hogy nem is egy ez de meg van volt", 3.0, 12.0),
    "id": _spaced("yang dan di dari untuk dengan ini pada tidak ke dalam itu"),
    "it": _spaced("di e che la il un a per in una non del"),
    "ko": _spaced("이 그 및 수 있는 있다 것 등 하는 또는 한 더", 1.5, 8.0),
    "ms": _spaced("yang dan di untuk dengan ini dalam pada tidak kepada itu dari"),
    "nl": _spaced("de van het een en in is dat op te voor met"),
    "no": _spaced("og i det er på som en til av for at med"),
    "pl": _spaced("i w na z się do nie to że jest o za"),
    "pt": _spaced("de a que o e do da em um para com uma"),
    "ro": _spaced("de și în a la cu pe nu că o din care"),
    "ru": _spaced("и в не на с что по как из для это к"),
    "sk": _spaced("a sa na v je že to s z do pre ako"),
    "sl": _spaced("in je v na se za da so ki z pa ne"),
    "sr": _spaced("и у је се на да су за од са као не i u je se na da su"),
    "sv": _spaced("och i att det som en på är av för med till"),
    "sw": _spaced("ya na wa kwa katika ni za kuwa hii la cha kama"),
    "ta": _spaced("ஒரு மற்றும் இந்த என்று அவர் இது என ஆகும் உள்ள அந்த", 3.0, 14.0),
    "tl": _spaced("ang sa ng na at mga ay para ito kung hindi may"),
    "tr": _spaced("ve bir bu da de için ile olarak çok daha ne gibi", 3.0, 12.0),
    "uk": _spaced("і в не на з що та до у як для за"),
    "ur": _spaced("کے میں کی ہے اور سے کا کو پر یہ نے ایک", 2.0),
    "vi": _spaced("và của là các có cho trong được một không với người", 2.0, 8.0),
    "ja": _unspaced("の に は を た が で と も する ない から", 2.2),
    "km": _unspaced("និង ជា នៅ ក្នុង របស់ បាន មាន ដែល ការ នេះ", 3.0),
    "lo": _unspaced("ແລະ ໃນ ຂອງ ທີ່ ເປັນ ມີ ໄດ້ ການ ໃຫ້ ນີ້", 3.0),
    "my": _unspaced("သည် နှင့် များ ကို မှ တွင် ဖြစ် သော ၏ ရှိ", 3.0),
    "th": _unspaced("ที่ และ ใน ของ เป็น การ มี ได้ ไม่ ให้ จะ นี้", 3.0),
    "zh": _unspaced("的 是 在 不 了 有 和 人 这 這 中 我 也", 1.6),
}
UNKNOWN = Language(frozenset(), 0.0, float("inf"))  # no rule that would have to know it
LONGER = {
    "eng": "en", "ara": "ar", "arb": "ar", "bul": "bg", "ben": "bn", "cat": "ca", "ces": "cs", "dan": "da", "deu": "de",
    "ell": "el", "spa": "es", "fas": "fa", "pes": "fa", "fin": "fi", "fra": "fr", "heb": "he", "hin": "hi", "hrv": "hr",
    "hun": "hu", "ind": "id", "ita": "it", "kor": "ko", "msa": "ms", "zsm": "ms", "nld": "nl", "nor": "no", "nob": "no",
    "nb": "no", "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru", "slk": "sk", "slv": "sl", "srp": "sr", "swe": "sv",
    "swa": "sw", "swh": "sw", "tam": "ta", "tgl": "tl", "fil": "tl", "tur": "tr", "ukr": "uk", "urd": "ur", "vie": "vi",
    "jpn": "ja", "khm": "km", "lao": "lo", "mya": "my", "tha": "th", "zho": "zh", "cmn": "zh", "lzh": "zh", "yue": "zh",
}  # fmt: skip


def language_of(code: str | None) -> Language:
    """Of a code as classifiers and data sets give it; UNKNOWN where it has no entry."""
    first = re.split(r"[-_]", (code or "").lower().removeprefix("__label__"), maxsplit=1)[0]
    return LANGUAGES.get(LONGER.get(first, first), UNKNOWN)

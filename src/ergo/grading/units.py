"""Units, as people write them behind a number: what they measure, and how much of it.

Only exact conversions inside one system are made (1.5 km is 1500 m). Feet are not metres, degrees
Celsius not Fahrenheit, dollars not euros: an answer in the other one is another answer.

pint was tried and left out: it reads `5 pm` as picometres, `5 am` as attometres and `$5` as a bare
number, does not know a counted noun, and takes a second to load its registry.
"""

from __future__ import annotations

from fractions import Fraction

_LISTED = """
m: m metre metres meter meters mètre mètres metro metros метр метров м 米 公尺 미터 メートル เมตร mét
1000 m: km kilometre kilometres kilometer kilometers км 公里 千米 キロ กิโลเมตร
1/100 m: cm centimetre centimetres centimeter centimeters см 厘米 公分
1/1000 m: mm millimetre millimetres millimeter millimeters мм 毫米
inch: inch inches in.
12 inch: ft foot feet ft.
36 inch: yd yard yards
63360 inch: mi mile miles
g: g gram grams gramme grammes г 克
1000 g: kg kilogram kilograms kilo kilos кг 公斤 千克
1/1000 g: mg milligram milligrams 毫克
1000000 g: tonne tonnes
ounce: oz ounce ounces oz.
16 ounce: lb lbs pound-weight lb. lbs.
ton: ton tons
l: l litre litres liter liters л 升
1/1000 l: ml millilitre millilitres milliliter milliliters 毫升
1/100 l: cl
gallon: gal gallon gallons
s: s sec secs second seconds sec. 秒 сек
60 s: min mins minute minutes min. 分钟
3600 s: h hr hrs hour hours 小时
86400 s: day days 天
604800 s: week weeks
month: month months
year: year years yr yrs y 年
km/h: km/h kmh kph kmph
mph: mph
m/s: m/s
°C: °c celsius degrees-celsius
°F: °f fahrenheit degrees-fahrenheit
°: ° degree degrees deg 度
%: % percent pct per-cent 百分之 процентов prozent pour-cent
1/1000000 m: μm um micron microns micrometre micrometres micrometer micrometers
1/1000000000 m: nm nanometre nanometres nanometer nanometers
px: px pixel pixels
kcal: kcal
cal: cal calorie calories
w: w watt watts
1000 w: kw kilowatt kilowatts
v: v volt volts
a: amp amps ampere amperes
hz: hz hertz
1000 hz: khz
1000000 hz: mhz
1000000000 hz: ghz
byte: byte bytes
1000 byte: kb kilobyte kilobytes
1000000 byte: mb megabyte megabytes
1000000000 byte: gb gigabyte gigabytes
1000000000000 byte: tb terabyte terabytes
ohm: ω ohm ohms
m2: m2 sqm
km2: km2
ft2: ft2 sqft
m3: m3
$: $ usd us$ dollar dollars bucks
1/100 $: cent cents ¢
€: € eur euro euros
£: £ gbp pound pounds quid
¥: ¥ jpy yen 円 元 cny rmb 块 yuan
₹: ₹ inr rs rs. rupee rupees
₩: ₩ krw won 원
₽: ₽ rub ruble rubles руб рублей
chf: chf fr.
a$: a$ aud
c$: c$ cad
r$: r$ brl
"""


def _read() -> dict[str, tuple[str, Fraction]]:
    table = {}
    for line in _LISTED.strip().splitlines():
        of, names = line.split(": ")
        factor, _, base = of.rpartition(" ")
        for name in names.split():
            table[name.replace("-", " ")] = (base, Fraction(factor or 1))
    return table


UNITS = _read()
"""Name -> (what it counts, how many of them)."""

_PREFIXES = {"n": Fraction(1, 10**9), "μ": Fraction(1, 10**6), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "k": Fraction(1000),
             "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12)}  # fmt: skip
_SYMBOLS = {"W": "w", "V": "v", "A": "a", "Hz": "hz", "Ω": "ohm", "Pa": "pa", "J": "j", "B": "byte"}
SYMBOLS = {f"{prefix}{name}": (base, factor) for name, base in _SYMBOLS.items() for prefix, factor in _PREFIXES.items()}
"""As UNITS, where capitals count: `mW` and `MW`."""

MONEY = tuple(
    sorted(
        (name for name, (base, _) in UNITS.items() if base in "$€£¥₹₩₽" or base in ("chf", "a$", "c$", "r$")),
        key=len,
        reverse=True,
    )
)

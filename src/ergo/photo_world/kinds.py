"""The kinds of things in the world: a plain English name and the emoji that is drawn for it.

A trained label head counts on their order: new kinds come last.
"""

from __future__ import annotations


def _read(table: str) -> dict[str, str]:
    words = table.split()
    return dict(zip(words[::2], words[1::2], strict=True))


VEHICLES = _read("""
car 🚗 bus 🚌 truck 🚚 taxi 🚕 tractor 🚜 bicycle 🚲 motorcycle 🏍 train 🚂 ambulance 🚑 sailboat ⛵ ship
🚢 airplane 🛩 helicopter 🚁 rocket 🚀
""")
BUILDINGS = _read("""
house 🏠 church ⛪ castle 🏰 tent ⛺ door 🚪
""")
FOOD = _read("""
apple 🍎 banana 🍌 pear 🍐 lemon 🍋 grapes 🍇 cherry 🍒 strawberry 🍓 pineapple 🍍 melon 🍉 carrot 🥕
tomato 🍅 corn 🌽 mushroom 🍄 bread 🍞 cheese 🧀 pizza 🍕 cake 🎂
""")
ANIMALS = _read("""
dog 🐕 cat 🐈 horse 🐎 cow 🐄 pig 🐖 sheep 🐑 elephant 🐘 fish 🐟 bird 🐦 duck 🦆 owl 🦉 penguin 🐧 snake 🐍
turtle 🐢 butterfly 🦋 bee 🐝 snail 🐌
""")
INDOORS = _read("""
chair 🪑 bed 🛏 clock ⏰ lamp 💡 book 📕 telephone ☎ television 📺 camera 📷 umbrella ☂ key 🔑 guitar 🎸
drum 🥁 ball ⚽ balloon 🎈 gift 🎁 crown 👑 hat 🎩 shoe 👟 dress 👗 shirt 👕
""")
ON_THE_TABLE = _read("""
cup ☕ bottle 🍾
""")
PLANTS = _read("""
tree 🌳 palm 🌴 cactus 🌵 sunflower 🌻 rose 🌹
""")
KINDS = VEHICLES | BUILDINGS | INDOORS | FOOD | ON_THE_TABLE | ANIMALS | PLANTS

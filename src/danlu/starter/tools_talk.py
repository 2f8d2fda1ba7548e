"""How people ask for what tools do, and what the assistant says of results.

A slot takes an argument, or what `slots` of tools.py adds: {when} is a date in a sentence, {said} a sum
in words, {me} a name. An answer depends on the call and its result alone.
"""

from __future__ import annotations

WHEN = {"en": "on {}", "zh": "{}"}

ASK: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "get_weather": (
            "What is the weather in {city} {when}?",
            "How is the weather {when} in {city}?",
            "Please tell me the weather in {city} {when}.",
            "I travel to {city} {when}. What will the weather be?",
            "Weather in {city} {when}, please.",
        ),
        "get_time": (
            "What time is it in {city}?",
            "What is the time in {city} now?",
            "Please tell me the time in {city}.",
            "I want to call somebody in {city}. What time is it there?",
            "Time in {city}, please.",
        ),
        "calculate": (
            "What is {expression}?",
            "What is {said}?",
            "Please calculate {expression}.",
            "How much is {said}?",
            "Calculate {said}, please.",
        ),
        "convert_unit": (
            "How many {to} are {value}?",
            "Convert {value} to {to}.",
            "Please convert {value} into {to}.",
            "What is {value} in {to}?",
        ),
        "convert_currency": (
            "How many {to} are {amount}?",
            "Change {amount} to {to}.",
            "Please change {amount} into {to}.",
            "What is {amount} in {to}?",
        ),
        "add_event": (
            'Add "{title}" to my calendar {when}.',
            "Please note {title} {when}.",
            "I have {title} {when}. Please put it into my calendar.",
            "Put {title} into the calendar {when}.",
        ),
        "list_events": (
            "What does {person} do {when}?",
            "What is in the calendar of {person} {when}?",
            "Please show me the plans of {person} {when}.",
            "Is {person} busy {when}?",
        ),
        "search": (
            "Search for {query}.",
            'Please search for "{query}".',
            "Find pages about {query}.",
            "I want to read about {query}. Please search for it.",
        ),
        "translate": (
            'Translate "{text}" into {to}.',
            'Please translate "{text}" into {to}.',
            'What is "{text}" in {to}?',
            'How do you say "{text}" in {to}?',
        ),
    },
    "zh": {
        "get_weather": (
            "{city}{when}天气怎么样？",
            "{when}{city}的天气如何？",
            "请告诉我{city}{when}的天气。",
            "我{when}去{city}，天气怎么样？",
            "查一下{when}{city}的天气。",
        ),
        "get_time": (
            "{city}现在几点？",
            "现在{city}是几点钟？",
            "请告诉我{city}的时间。",
            "我要给{city}的朋友打电话，那里几点了？",
            "查一下{city}的时间。",
        ),
        "calculate": (
            "{expression} 等于多少？",
            "{said}等于多少？",
            "请计算 {expression}。",
            "请算一下{said}。",
            "{said}是多少？",
        ),
        "convert_unit": (
            "{value}等于多少{to}？",
            "{value}是多少{to}？",
            "请把{value}换算成{to}。",
            "把{value}换成{to}。",
        ),
        "convert_currency": (
            "{amount}等于多少{to}？",
            "{amount}可以换多少{to}？",
            "请把{amount}换算成{to}。",
            "把{amount}换成{to}。",
        ),
        "add_event": (
            "把“{title}”加到{when}的日程里。",
            "请记下{when}{title}。",
            "我{when}要{title}，请记到日程里。",
            "在{when}的日程里加上{title}。",
        ),
        "list_events": (
            "{person}{when}做什么？",
            "{person}{when}有什么安排？",
            "请看看{person}{when}的日程。",
            "{when}{person}有空吗？",
        ),
        "search": (
            "搜索{query}。",
            "请搜索“{query}”。",
            "请找一下关于{query}的网页。",
            "我想了解{query}，请搜索一下。",
        ),
        "translate": (
            "把“{text}”翻译成{to}。",
            "请把“{text}”翻译成{to}。",
            "“{text}”用{to}怎么说？",
            "“{text}”的{to}是什么？",
        ),
    },
}

TELL = {
    "en": {
        "get_weather": "The weather in {city} {when} is {weather}, up to {high} degrees.",
        "get_time": "It is {time} in {city}.",
        "calculate": "{expression} = {result}",
        "convert_unit": "{value} = {result}",
        "convert_currency": "{amount} = {result}",
        "add_event": "I added {title} {when} as number {number}.",
        "list_events": "{person} has {event} in {city} {when}.",
        "search": "I found {found} pages about {query}.",
        "translate": '"{text}" in {to} is "{translation}".',
    },
    "zh": {
        "get_weather": "{city}{when}{weather}，最高{high}度。",
        "get_time": "{city}现在是{time}。",
        "calculate": "{expression} = {result}",
        "convert_unit": "{value} = {result}",
        "convert_currency": "{amount} = {result}",
        "add_event": "已加上{when}{title}，编号{number}。",
        "list_events": "{person}{when}在{city}{event}。",
        "search": "关于{query}，找到{found}个网页。",
        "translate": "“{text}”的{to}是“{translation}”。",
    },
}

# tool, argument that is missing: how one asks without it, what the assistant asks, what one adds
MISSING: dict[str, dict[tuple[str, str], tuple[tuple[str, ...], str, tuple[str, ...]]]] = {
    "en": {
        ("get_weather", "city"): (
            ("What will the weather be {when}?", "I travel {when}. How is the weather there?"),
            "In which town?",
            ("In {city}.", "{city}, please.", "I mean {city}."),
        ),
        ("get_weather", "date"): (
            ("What will the weather be in {city}?", "I travel to {city}. How is the weather?"),
            "On which day?",
            ("{When}.", "I mean {when}.", "{When}, please."),
        ),
        ("get_time", "city"): (
            ("I am {me}. What time is it there?", "This is {me}. Please tell me the time."),
            "In which town?",
            ("In {city}.", "{city}, please.", "I mean {city}."),
        ),
        ("convert_unit", "to"): (
            ("Please convert {value}.", "Convert {value} for me."),
            "Into which unit?",
            ("Into {to}, for {me}.", "Into {to}. {me} asked me."),
        ),
        ("convert_currency", "amount"): (
            ("I am {me}. Please change my money into {to}.", "{me} wants to change money into {to}."),
            "How much?",
            ("{amount}.", "{amount}, please.", "I have {amount}."),
        ),
        ("add_event", "date"): (
            ("Please note {title}.", 'Add "{title}" to my calendar.'),
            "On which day?",
            ("{When}.", "I mean {when}.", "{When}, please."),
        ),
        ("add_event", "title"): (
            ("Please note something {when}.", "Add something to my calendar {when}."),
            "What shall I note?",
            ("{title}.", "It is {title}.", "I have {title}."),
        ),
        ("list_events", "person"): (
            ("Who is busy {when}? Please look it up.", "What is in the calendar {when}?"),
            "Whose calendar?",
            ("I mean {person}.", "That of {person}.", "{person}, please."),
        ),
        ("search", "query"): (
            ("I am {me}. Please search for something.", "{me} wants you to search for something."),
            "What shall I search for?",
            ("{query}.", "Search for {query}.", "{query}, please."),
        ),
        ("translate", "text"): (
            ("I am {me}. Please translate something into {to}.", "{me} needs something in {to}."),
            "What is the text?",
            ('"{text}".', 'It is "{text}".', 'The text is "{text}".'),
        ),
    },
    "zh": {
        ("get_weather", "city"): (
            ("{when}天气怎么样？", "我{when}出门，天气如何？"),
            "请问是哪个地方？",
            ("{city}。", "是{city}。", "我说的是{city}。"),
        ),
        ("get_weather", "date"): (
            ("{city}天气怎么样？", "我要去{city}，天气如何？"),
            "请问是哪一天？",
            ("{when}。", "是{when}。", "我说的是{when}。"),
        ),
        ("get_time", "city"): (
            ("我是{me}，请问那里几点了？", "我叫{me}，请告诉我时间。"),
            "请问是哪个地方？",
            ("{city}。", "是{city}。", "我说的是{city}。"),
        ),
        ("convert_unit", "to"): (
            ("请换算{value}。", "帮我换算{value}。"),
            "请问换算成什么单位？",
            ("换成{to}，{me}要用。", "换成{to}，是{me}问的。"),
        ),
        ("convert_currency", "amount"): (
            ("我是{me}，请把我的钱换成{to}。", "{me}想把钱换成{to}。"),
            "请问有多少？",
            ("{amount}。", "有{amount}。", "一共{amount}。"),
        ),
        ("add_event", "date"): (
            ("请记下{title}。", "把“{title}”加到日程里。"),
            "请问是哪一天？",
            ("{when}。", "是{when}。", "我说的是{when}。"),
        ),
        ("add_event", "title"): (
            ("请记下{when}的一件事。", "在{when}的日程里加一件事。"),
            "请问记什么？",
            ("{title}。", "是{title}。", "我要{title}。"),
        ),
        ("list_events", "person"): (
            ("{when}有什么安排？", "请看看{when}的日程。"),
            "请问是谁的日程？",
            ("{person}。", "是{person}。", "我说的是{person}。"),
        ),
        ("search", "query"): (
            ("我是{me}，请搜索一下。", "{me}请你搜索一下。"),
            "请问搜索什么？",
            ("{query}。", "搜索{query}。", "我想找{query}。"),
        ),
        ("translate", "text"): (
            ("我是{me}，请翻译成{to}。", "{me}想要一句{to}。"),
            "请问原文是什么？",
            ("“{text}”。", "是“{text}”。", "原文是“{text}”。"),
        ),
    },
}

# a second tool that takes the first one's result
SEQUENCES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "calculate convert_unit": (
            "What is {said}? Take it as {unit} and convert it to {to}.",
            "Calculate {expression} and convert that many {unit} to {to}.",
        ),
        "calculate convert_currency": (
            "What is {said}? Take it as {unit} and change it to {to}.",
            "Calculate {expression} and change that many {unit} to {to}.",
        ),
        "list_events get_weather": (
            "Where is {person} {when}, and how is the weather there?",
            "Find out where {person} is {when}, then tell me the weather there.",
        ),
        "translate search": (
            'Translate "{text}" into {to} and search for it.',
            'What is "{text}" in {to}? Please search for that.',
        ),
    },
    "zh": {
        "calculate convert_unit": (
            "{said}是多少{unit}？再换算成{to}。",
            "请计算 {expression}，单位是{unit}，再换算成{to}。",
        ),
        "calculate convert_currency": (
            "{said}是多少{unit}？再换成{to}。",
            "请计算 {expression}，单位是{unit}，再换成{to}。",
        ),
        "list_events get_weather": (
            "{person}{when}在哪里？那里天气怎么样？",
            "先查{person}{when}在哪里，再查那里的天气。",
        ),
        "translate search": (
            "把“{text}”翻译成{to}，再搜索。",
            "“{text}”用{to}怎么说？请搜索一下。",
        ),
    },
}

SORRY = {
    "en": {
        "get_time": "I am sorry, the clock does not know {city}.",
        "calculate": "I am sorry, nothing can be divided by zero.",
    },
    "zh": {
        "get_time": "抱歉，没有{city}的时间。",
        "calculate": "抱歉，零不能做除数。",
    },
}
OTHER_TOWN = {
    "en": ("I do not know {city}. Is there another town nearby?", ("Take {city}.", "Then {city}, please.")),
    "zh": ("没有查到{city}，附近还有别的地方吗？", ("那就查{city}。", "换成{city}吧。")),
}

NO_TOOL = {  # what no tool does
    "en": (
        "Book a room in {city}, please.",
        "Call {me}, please.",
        "Buy a {query}.",
        "Play some music for {me}.",
        "Send a letter to {me} in {city}.",
    ),
    "zh": (
        "请在{city}订一个房间。",
        "请给{me}打电话。",
        "买一个{query}。",
        "请给{me}放音乐。",
        "给{city}的{me}寄一封信。",
    ),
}
UNFIT = {"en": "I am sorry, I have no tool for that.", "zh": "抱歉，我没有合适的工具。"}

CHAT = {  # what needs no tool: said, answered
    "en": (
        ("Hello, I am {me}.", "Hello, {me}! What can I do for you?"),
        ("Good morning! My name is {me}.", "Hello, {me}! What can I do for you?"),
        ("Thank you! Greetings from {me}.", "You are welcome, {me}!"),
        ("My friend {me} says thank you.", "You are welcome, {me}!"),
        ("I live in {city}.", "{city} sounds like a nice place."),
        ("My family comes from {city}.", "{city} sounds like a nice place."),
        ("Good night! {me} is tired.", "Good night, {me}!"),
    ),
    "zh": (
        ("你好，我是{me}。", "你好，{me}！有什么可以帮你？"),
        ("早上好！我叫{me}。", "你好，{me}！有什么可以帮你？"),
        ("谢谢你！我是{me}。", "不客气，{me}！"),
        ("我的朋友{me}说谢谢你。", "不客气，{me}！"),
        ("我住在{city}。", "{city}听起来是个好地方。"),
        ("我的家人来自{city}。", "{city}听起来是个好地方。"),
        ("晚安！{me}累了。", "晚安，{me}！"),
    ),
}
FACTS = (  # topics of the little world that no tool knows better
    "capital country_of tongue continent colour opposite sound legs home food next_month season_of"
    " next_day last_day tool job kind"
).split()

SYSTEMS = {
    "en": (
        "You are a helpful assistant.",
        "Answer briefly.",
        "You help with the tools you have.",
        "Be polite and exact.",
    ),
    "zh": ("你是一个有用的助手。", "请简短回答。", "你用手边的工具帮助别人。", "请礼貌、准确地回答。"),
}

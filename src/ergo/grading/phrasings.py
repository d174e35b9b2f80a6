"""How answers are worded, by language: the one table that letters and free answers are read with.

A phrase that ends in * is a stem ("incorrect*" is incorrecte, incorrecta as well). All is lower case.
To add a language is to add one entry here and rows to tests/grading/specification.tsv.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phrases:
    """What a language says around an answer.

    answer: what follows is the answer, with or without a link ("answer B", "the answer is B").
    choose: the same for verbs. option: words for an option; with a link, what follows is the answer.
    subject: the same for pronouns ("it is B"). link: stands between these and the answer. so: opens a conclusion.
    right, wrong: behind an option, they affirm or deny it. deny: before it. either: between alternatives.
    close: ends a statement and says nothing. correction: what was stated before it no longer counts.
    doubt: makes a link uncertain ("could be B"). hedge: says that the answer is not certain, or one of several. yes, no: as whole answers.
    """

    answer: str = ""
    choose: str = ""
    option: str = ""
    subject: str = ""
    link: str = ""
    so: str = ""
    right: str = ""
    wrong: str = ""
    deny: str = ""
    either: str = ""
    close: str = ""
    correction: str = ""
    hedge: str = ""
    doubt: str = ""
    yes: str = ""
    no: str = ""


LANGUAGES: dict[str, Phrases] = {
    "signs": Phrases(link=":|=|->|→|—|–|-|⇒|・", either=",|/|&|+|、|،|;|vs|vs.", so="∴"),
    "English": Phrases(
        answer="answer|answers|ans|solution|conclusion|the correct one|the right one",
        choose="choose|chose|choosing|matches|match|corresponds to|corresponding to|pick|picked|select|selected|go with|going with|opt for|say|it's|that's|settle on",
        option="option|choice|letter|alternative|answer choice",
        subject="it|this|that|which|he|she|they|there",
        link="is|are|was|would|should|must|will|be|likely|probably|clearly|definitely|most|indeed|therefore|thus|to be|has|have|to|definitively",
        so="so|thus|therefore|hence|then|finally|overall|in conclusion|ok|okay|well",
        right="is correct*|is right|is the correct*|is the right|is the answer|is the best|is the better|is the only|is true|is my answer|"
        "is my choice|is my final|fits|matches|it is|would be correct|must be correct|seems correct|is the most",
        wrong="is not|isn't|is wrong|is incorrect|is false|is ruled out|can be ruled out|can be eliminated|is eliminated|"
        "cannot|can't|could not|does not|doesn't|do not|don't|are wrong|are incorrect|are not|aren't|was not|wasn't|"
        "are ruled out|are eliminated|would not|wouldn't|must be wrong|seems wrong|is definitely not|is clearly not",
        deny="not|isn't|never|neither|nor|rather than|instead of|exclude|excluding|rule out|ruling out|ruled out|eliminate|"
        "eliminating|eliminated|except|unlike|cannot be|can't be|couldn't be|wasn't|aren't|without|no|don't|won't|wouldn't|not a|"
        "not an|not the|doubt",
        either="or|and|and/or|to|through|versus",
        correction="wait|but|however|rather|instead|actually|correction|sorry|on second thought|on reflection|scratch that|i was wrong|my mistake|"
        "i made a mistake|let me correct|no, the|hmm",
        doubt="maybe|perhaps|possibly|might|could|may",
        hedge="maybe|perhaps|possibly|probably|might be|might|could be|may be|not sure|unsure|unclear|cannot tell|can't tell|"
        "hard to tell|hard to say|i guess|i think|either|about|approximately|around|roughly|almost|nearly|likely|or so|or|"
        "more or less|some|at least|at most|over|under|more than|less than|~|≈|>|<|±",
        yes="yes|yeah|yep|true|yes it is|yes there is|yes there are|yes it does|yes they are|yes it has|yes you can",
        no="no|nope|false|no it is not|no it isn't|no there is not|no there isn't|no there are not|no it does not|"
        "no it doesn't|no they are not|no they aren't|no there aren't",
    ),
    "Chinese": Phrases(
        answer="答案|正确答案|最终答案|答|结论|正确的|正确的是|正解|最佳答案|答案選|答案选|正確答案",
        choose="选|選|选择|選擇|应选|我选|故选|回答|认为|認為|认为是|觉得是",
        option="选项|選項|选择项|项|字母",
        subject="这|這|它|那|显示的",
        link="是|为|為|应|应该|應該|就|就是|即",
        so="所以|因此|综上|综上所述|故|总之",
        right="正确|正確|是正确|是正確|是对|是對|对|對|是答案|符合|为正确|是正解|是最佳|最符合|最合适|是我的",
        wrong="不正确|不正確|错|錯|不对|不對|不是|不符合|是错|是錯|错误|是不|也不|都不|被排除|可以排除|不可能",
        deny="不是|不选|不選|不|非|排除|排除了|而不是|并非|不为|不应选|不应|没有选|除了",
        either="或|或者|和|与|與|及|还是|還是|以及",
        close="选项|選項|项|了|吧|的|。",
        correction="等等|等一下|更正|其实|其實|抱歉|重新",
        doubt="可能|大概|也许|或许",
        hedge="可能|也许|也許|大概|或许|或許|不确定|不確定|大约|大約|左右|约|或",
        yes="是|是的|对|對|有|正确|可以",
        no="否|不是|不|没有|沒有|不对|错误|不可以",
    ),
    "Japanese": Phrases(
        answer="答え|答|正解|回答|解答|正答",
        choose="選ぶなら",
        option="選択肢|選択|記号|番号",
        subject="これ|それ|正しいの",
        link="は|が|も|の",
        so="したがって|よって|だから|つまり",
        right="です|が正解|が正しい|が答え|を選|である|だと思|だ|でしょう|が適切|が当てはま",
        wrong="ではな|じゃな|では無|は違|は誤|は間違|ではありません|は正しくな|が間違|は不正解|でない|は除",
        either="か|または|と|もしくは|や|あるいは",
        close="です|だ|である|でしょう|になります|となります",
        correction="いや|訂正|待って|待った|間違えました|やはり",
        hedge="かもしれ|たぶん|おそらく|多分|わからな|分からな|約|くらい|ぐらい|または",
        yes="はい|ええ|うん",
        no="いいえ|いや|ううん",
    ),
    "Korean": Phrases(
        answer="정답|답|답변|해답",
        choose="선택은|선택",
        option="선택지|보기|옵션",
        subject="이것|그것|맞는 것|맞는 것은|올바른 것",
        link="은|는|이|가|도",
        so="따라서|그러므로|그래서",
        right="가 정답|이 정답|가 맞|이 맞|를 선택|을 선택|입니다|이다|예요|이에요|가 옳|이 옳|가 답|이 답|가 올바|번이 정답|번입니다|를 고르|가 가장",
        wrong="가 아니|이 아니|는 아니|은 아니|가 아닙|이 아닙|는 아닙|은 아닙|가 아닌|이 아닌|는 틀|은 틀|가 틀|이 틀|번이 아니|는 오답|은 오답",
        either="또는|혹은|이나|나|와|과|및|랑",
        close="입니다|이다|예요|이에요|번|번입니다|가 정답입니다",
        correction="아니,|정정|잠깐|다시 보니|죄송",
        hedge="아마|아마도|일지도|모르겠|약|정도|또는",
        yes="네|예|응|맞습니다",
        no="아니요|아니오|아뇨|아니|아닙니다",
    ),
    "Russian": Phrases(
        answer="ответ|ответом|правильный ответ|верный ответ|решение|правильно|верно",
        choose="выбираю|выбрать|выберу|выбери|выбор|отвечу",
        option="вариант|вариантом|буква|буквой|опция|пункт|вариант ответа",
        subject="это|он|она|оно",
        link="это|является|будет|был",
        so="итак|следовательно|поэтому|значит|таким образом",
        right="правильн*|верн*|верен|является правильн*|— правильн*|- правильн*|— верн*|это правильн*|подходит|является верн*",
        wrong="неправильн*|неверн*|не|— неправильн*|— неверн*|ошибоч*|не является|исключ*|- неверн*",
        deny="не|кроме|исключаем|исключая|ни|вместо|а не",
        either="или|и|либо",
        correction="нет,|точнее|исправл*|подожд*|извините|на самом деле",
        doubt="возможно|может",
        hedge="возможно|может быть|наверное|вероятно|не уверен*|около|примерно|или|либо",
        yes="да|верно|есть",
        no="нет|неверно",
    ),
    "Spanish": Phrases(
        answer="respuesta|solución|respuesta correcta|correcta|correcto|conclusión",
        choose="elijo|escojo|elegir|selecciono|elegiría|escoger|diría|me quedo con",
        option="opción|letra|alternativa|inciso|opcion|opción correcta",
        subject="esta|este|eso|esto",
        link="es|sería|debe|ser|seria|debería|correcta|correcto",
        so="entonces|por lo tanto|así que|en conclusión",
        right="es correct*|es la correct*|es la respuesta|es la opción correct*|es el correct*|es verdader*|es la buena|es la mejor",
        wrong="no es|es incorrect*|es fals*|no son|no puede|no coincide|no corresponde|son incorrect*",
        deny="no|no es|ni|excepto|en lugar de|descarto|descartar|salvo|en vez de|nunca",
        either="o|y|u|e",
        correction="espera|en realidad|perdón|corrijo|me equivoqué|corrección",
        doubt="quizás|quizá|podría|puede",
        hedge="quizás|quizá|tal vez|probablemente|puede ser|no estoy segur*|aproximadamente|unos|unas|o|casi",
        yes="sí|si|verdadero|sí lo es",
        no="no|falso|no lo es",
    ),
    "French": Phrases(
        answer="réponse|solution|bonne réponse|réponse correcte|réponse exacte|reponse|conclusion",
        choose="choisis|choisir|opte pour|choisirais|sélectionne|c'est|dirais",
        option="option|choix|lettre|proposition|l'option|la proposition",
        subject="ce|cela|ça|il|elle",
        link="est|serait|doit|être|sera|donc|correcte|bonne",
        so="donc|ainsi|par conséquent|alors|en conclusion",
        right="est correct*|est la bonne|est la réponse|est juste|est exact*|est vrai*|est la proposition correcte|est la meilleure|"
        "est l'option correcte|convient|est bonne",
        wrong="n'est pas|est incorrect*|est faux|est fausse|est inexact*|ne sont pas|ne convient pas|ne correspond pas|n'est ni",
        deny="pas|n'est pas|non|ni|sauf|plutôt que|au lieu de|exclure|j'exclus|pas la|pas l'option",
        either="ou|et",
        correction="attendez|attends|en fait|pardon|je me trompe|correction|non,",
        doubt="peut-être|pourrait|peut",
        hedge="peut-être|probablement|sans doute|pas sûr*|environ|à peu près|ou|presque",
        yes="oui|vrai|si",
        no="non|faux",
    ),
    "German": Phrases(
        answer="antwort|lösung|richtige antwort|korrekte antwort|richtig|korrekt|ergebnis|richtig ist",
        choose="wähle|nehme|wählen|würde|entscheide mich für|tippe auf",
        option="option|auswahl|buchstabe|antwortmöglichkeit|möglichkeit|variante|antwort",
        subject="es|das|dies|sie|er",
        link="ist|lautet|wäre|muss|sein|wird|daher|also",
        so="also|daher|somit|deshalb|folglich",
        right="ist richtig|ist korrekt|ist die richtige|ist die korrekte|stimmt|ist die antwort|trifft zu|ist die beste|passt|"
        "ist die lösung|ist wahr",
        wrong="ist nicht|ist falsch|ist inkorrekt|stimmt nicht|trifft nicht|sind falsch|sind nicht|passt nicht|scheidet aus|"
        "kann nicht|ist ausgeschlossen",
        deny="nicht|kein|keine|weder|noch|außer|statt|anstatt|ausschließen|niemals|nein",
        either="oder|und|bzw|beziehungsweise",
        correction="moment|korrektur|genauer gesagt|entschuldigung|tatsächlich|halt",
        doubt="vielleicht|könnte|möglicherweise",
        hedge="vielleicht|wahrscheinlich|möglicherweise|vermutlich|nicht sicher|unsicher|etwa|ungefähr|circa|ca|oder|fast|rund",
        yes="ja|wahr|jawohl",
        no="nein|falsch",
    ),
    "Arabic": Phrases(
        answer="الإجابة|الجواب|الاجابة|الإجابة الصحيحة|الجواب الصحيح|الصحيحة|الصحيح|إجابة|الحل",
        choose="أختار|اختار|اختر|نختار",
        option="الخيار|الحرف|خيار|الاختيار|حرف|الخيار الصحيح",
        subject="هذا|هذه|إنه|إنها",
        link="هو|هي|الصحيح|الصحيحة",
        so="إذن|لذلك|بالتالي|لذا",
        right="صحيح|صحيحة|هو الصحيح|هي الصحيحة|هو الجواب|هي الإجابة|هو الخيار الصحيح|هي الإجابة الصحيحة|هو الإجابة",
        wrong="ليس|ليست|خطأ|خاطئ|خاطئة|غير صحيح|غير صحيحة|هو خطأ|لا",
        deny="ليس|ليست|لا|غير|ليس هو|ليست هي|باستثناء|بدلا من|ما عدا|ليس الخيار",
        either="أو|و|أم",
        correction="عفوا|في الواقع|تصحيح|انتظر|آسف",
        hedge="ربما|قد|لعل|لست متأكدا|تقريبا|حوالي|أو|ممكن",
        yes="نعم|صحيح|أجل",
        no="لا|خطأ|كلا",
    ),
    "Hindi": Phrases(
        answer="उत्तर|जवाब|सही उत्तर|सही जवाब|सही|हल",
        choose="चुनता हूँ|चुनें|चुनूंगा",
        option="विकल्प|अक्षर|सही विकल्प",
        subject="यह|वह|ये",
        link="है|होगा|हैं",
        so="इसलिए|अतः|तो",
        right="सही|सही है|उत्तर है|है|सही उत्तर है|ठीक",
        wrong="गलत|ग़लत|सही नहीं|नहीं|गलत है",
        deny="नहीं|न",
        either="या|और|अथवा",
        close="है|हैं|है।|।",
        correction="रुको|रुकिए|दरअसल|माफ़|क्षमा",
        hedge="शायद|संभवतः|लगभग|करीब|या|पता नहीं",
        yes="हाँ|हां|जी हाँ|सही",
        no="नहीं|ना|जी नहीं|गलत",
    ),
    "Thai": Phrases(
        answer="คำตอบ|คำตอบที่ถูกต้อง|คำตอบที่ถูก|เฉลย|ข้อที่ถูก|ข้อที่ถูกต้อง|คำตอบของฉัน",
        choose="เลือก|ตอบ|ขอเลือก",
        option="ข้อ|ตัวเลือก|ตัวเลือกที่ถูกต้อง",
        subject="นี่|มัน|นั่น",
        link="คือ|เป็น|ที่|ก็คือ",
        so="ดังนั้น|เพราะฉะนั้น",
        right="ถูกต้อง|ถูก|คือคำตอบ|เป็นคำตอบ|เป็นข้อที่ถูก",
        wrong="ไม่ถูก|ผิด|ไม่ใช่|ไม่",
        deny="ไม่ใช่|ไม่|ไม่เลือก|ยกเว้น|ไม่ใช่ข้อ|ไม่ตอบ",
        either="หรือ|และ|กับ",
        close="ครับ|ค่ะ",
        correction="ขอแก้|จริงๆแล้ว|จริง ๆ แล้ว|ขอโทษ",
        hedge="อาจ|น่าจะ|บางที|ประมาณ|หรือ|ไม่แน่ใจ",
        yes="ใช่|ใช่ครับ|ใช่ค่ะ|มี|จริง|ถูกต้อง",
        no="ไม่|ไม่ใช่|ไม่มี|เปล่า|ผิด",
    ),
    "Vietnamese": Phrases(
        answer="đáp án|câu trả lời|trả lời|đáp án đúng|câu trả lời đúng|kết luận|đáp án chính xác",
        choose="chọn|tôi chọn|lựa chọn đáp án",
        option="phương án|lựa chọn|đáp án|chữ cái",
        subject="đó|đây|nó",
        link="là|sẽ|đúng|chính",
        so="vậy|do đó|vì vậy|nên",
        right="đúng|là đúng|là đáp án|là câu trả lời|chính xác|là phương án đúng|là chính xác",
        wrong="sai|không đúng|không phải|là sai|không chính xác|bị loại|không",
        deny="không phải|không|không phải là|trừ|ngoại trừ|thay vì|loại|không chọn|chẳng phải",
        either="hoặc|và|hay",
        correction="à không|thực ra|xin lỗi|nhầm",
        hedge="có thể|có lẽ|khoảng|hoặc|hay|không chắc|chắc là",
        yes="có|đúng|vâng|phải|đúng vậy",
        no="không|sai|không phải",
    ),
}

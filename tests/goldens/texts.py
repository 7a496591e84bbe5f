"""The texts behind the SmolLM2 goldens, written for this project: prose, code, other scripts, numbers, tokenizer traps.

Each text is scored on its own, from an empty context, without BOS. PROMPTS are continued greedily.
"""

TEXTS = {
    "harbour": """The harbour had been quiet since the ferry company moved its boats to the deeper port across the bay. A few fishermen still tied up along the eastern wall, where the stones were worn smooth by two centuries of rope, and on summer evenings children dropped crab lines from the steps. Nobody had decided that the place should change. It had simply been left alone for long enough that people began to like it as it was.

When the council announced a plan for a marina, the first meeting filled the school hall and spilled into the car park. The engineer who presented the drawings was patient and well prepared. She explained the tides, the dredging, the number of jobs and the years it would take to pay back the loan. Then an old man near the window stood up and asked where the seals would go. She looked through her papers for a while. "That," she said at last, "is a question I should have asked before I came." The meeting ended early, and most of those who were there remember it as the day the plan began to improve.""",
    "bread": """Good bread needs four things: flour, water, salt and time. Mix 500 grams of strong flour with 350 grams of cool water and leave the dough for half an hour before you add 10 grams of salt and a little yeast. Fold it every thirty minutes for three hours, then shape it gently, let it rest overnight in the refrigerator, and bake it in a very hot, covered pot. The crust should be darker than you think is right.""",
    "letter": """Dear Margaret,

Thank you for the photographs. I had forgotten how tall the pear tree was, and that you once climbed it to prove to your brother that the nest was empty. It was not empty, as I recall, and he was not gracious about it.

We are well. The roof has been mended, the cat has been forgiven, and I have started to learn the cello at seventy-one, which my neighbours bear with a kindness I do not deserve.

With love,
Edith""",
    "physics": """When light passes from air into glass it slows down, and because it slows down it bends. The amount of bending depends on the angle at which it arrives and on the ratio of the two speeds, which we call the refractive index. Shorter wavelengths are slowed a little more than longer ones, so a prism spreads white light into a band of colours. Newton saw that a second prism could gather the band into white light again, and concluded that the colours had been in the beam from the beginning.""",
    "biology": """Mitochondria are often called the powerhouse of the cell, but they do more than make ATP. They store calcium, produce heat, and take part in the decision of a cell to die. They carry a small circular genome of their own, inherited in most animals from the mother alone, which is one of the reasons biologists believe that they descend from free-living bacteria.""",
    "history": """The printing press did not create the demand for books; it met one that was already there. By 1450 universities, courts and merchants across Europe employed thousands of scribes, and stationers rented out texts in parts so that several copyists could work at once. What movable type changed was the price of the second copy.""",
    "dialogue": """"Is it far?" asked the boy.
"That depends," said the ferryman, "on whether you mean to come back."
"I do."
"Then it is twice as far as you think."
The boy considered this. The water was grey and very still. "And if I don't?"
"Then it's free," said the ferryman, and he held out his hand.""",
    "news": """WELLINGTON, 14 March - The city council voted nine to six on Thursday to extend the night bus service until the end of the year. Ridership has grown by 18 per cent since October, according to figures released last week, while the cost per passenger fell from $11.40 to $7.95. Opponents said that the money would be better spent on repairs to footpaths in the northern suburbs.""",
    "poem": """The clock has stopped upon the stair,
The dust lies soft on every chair,
And still the kettle seems to sing
Of rain, and roads, and everything
We said we'd do, and didn't do,
When all the windows opened to
The sea.""",
    "legal": """4.2 The Licensee shall not, without the prior written consent of the Licensor, assign, sublicense or otherwise transfer any of its rights under this Agreement, except to a successor in interest by way of merger or sale of substantially all of its assets, provided that such successor agrees in writing to be bound by the terms hereof.""",
    "question": """Question: A train leaves the station at 9:15 and travels at 60 miles per hour. A second train leaves the same station at 9:45 and travels in the same direction at 80 miles per hour. At what time does the second train catch up with the first?
Answer: Let's think step by step. When the second train leaves, the first has been travelling for half an hour and is 30 miles ahead. The second train gains 20 miles every hour, so it needs one and a half hours. It catches up at 11:15.""",
    "list": """Things to take to the mountains:
1. A map and a compass
2. Two litres of water
3. A warm jacket, even in July
4. Something to eat that you will not enjoy too early
5. A headlamp with fresh batteries
6. A friend""",
    "markdown": """# Installation

Run the installer, then check that it worked:

```sh
curl --version   # any recent version will do
make && sudo make install
```

| Option | Default | Meaning |
|--------|---------|---------|
| `--prefix` | `/usr/local` | where the files go |
| `--jobs` | `2` | how many compilers run at once |

> **Note**: do not run the tests as root.
""",
    "python": '''def levenshtein(a: str, b: str) -> int:
    """Return the edit distance between two strings."""
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        current = [i]
        for j, y in enumerate(b, start=1):
            cost = 0 if x == y else 1
            current.append(min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost))
        previous = current
    return previous[-1]


if __name__ == "__main__":
    assert levenshtein("kitten", "sitting") == 3
    print(levenshtein("flaw", "lawn"))
''',
    "rust": """use std::collections::HashMap;

fn count_words(text: &str) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
}

fn main() {
    let counts = count_words("the cat and the hat");
    let mut words: Vec<_> = counts.into_iter().collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    println!("{words:?}");
}
""",
    "c": """#include <stdio.h>
#include <stdlib.h>

/* Reverse a singly linked list in place. */
struct node { int value; struct node *next; };

struct node *reverse(struct node *head) {
\tstruct node *prev = NULL;
\twhile (head != NULL) {
\t\tstruct node *next = head->next;
\t\thead->next = prev;
\t\tprev = head;
\t\thead = next;
\t}
\treturn prev;
}
""",
    "javascript": """const debounce = (fn, ms = 250) => {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => fn.apply(this, args), ms);
  };
};

window.addEventListener("resize", debounce(() => console.log(`${innerWidth}x${innerHeight}`)));
""",
    "sql": """SELECT c.name, COUNT(o.id) AS orders, ROUND(SUM(o.total), 2) AS revenue
FROM customers AS c
LEFT JOIN orders AS o ON o.customer_id = c.id AND o.placed_at >= '2023-01-01'
GROUP BY c.name
HAVING COUNT(o.id) > 5
ORDER BY revenue DESC
LIMIT 20;
""",
    "html": """<!DOCTYPE html>
<html lang="en">
  <head><meta charset="utf-8"><title>Tide table</title></head>
  <body>
    <h1 class="title">Tide table</h1>
    <p>High water at <time datetime="06:42">6:42</time> and <time datetime="19:05">7:05&nbsp;pm</time>.</p>
  </body>
</html>
""",
    "json": """{"id": 90217, "name": "Ana Lima", "tags": ["admin", "beta"], "active": true, "balance": -12.5e3, "address": {"city": "Porto", "zip": "4000-123"}, "notes": null}""",
    "yaml": """services:
  database:
    image: postgres:15
    environment:
      POSTGRES_PASSWORD: example
    ports:
      - "5432:5432"
    volumes:
      - data:/var/lib/postgresql/data
volumes:
  data: {}
""",
    "log": """2024-11-03T02:17:44.981Z INFO  [worker-3] job 8841 started
2024-11-03T02:17:45.120Z WARN  [worker-3] retry 1/5 after timeout (1500 ms)
2024-11-03T02:17:46.655Z ERROR [worker-3] job 8841 failed: connection refused (os error 111)
2024-11-03T02:17:46.656Z INFO  [worker-3] job 8841 requeued
""",
    "diff": """--- a/src/lib.rs
+++ b/src/lib.rs
@@ -12,7 +12,7 @@ impl Cache {
-        if self.len() > self.limit {
+        while self.len() > self.limit {
             self.evict();
         }
""",
    "shell": """$ git log --oneline | head -3
4f2c1aa Fix the off-by-one in the pager
9be0d37 Add a test for empty input
0c77e5d Initial commit
$ grep -rn 'TODO' src/ | wc -l
17
""",
    "latex": r"""\begin{theorem}
Let $f : [a, b] \to \mathbb{R}$ be continuous. Then for every $y$ between $f(a)$ and $f(b)$ there exists $c \in [a, b]$ such that $f(c) = y$.
\end{theorem}
\begin{proof}
Consider the set $S = \{ x \in [a, b] : f(x) \le y \}$ and let $c = \sup S$.
\end{proof}""",
    "arithmetic": """12 + 7 = 19
340 - 58 = 282
16 * 16 = 256
1000 / 8 = 125
99 + 102 = 201
2 ** 10 = 1024
(3 + 4) * 5 = 35
""",
    "digits": "3.14159265358979323846264338327950288419716939937510 2.71828182845904523536 1.41421356237309504880 0.57721566490153286060 1,000,000 0x7fff_ffff 6.02214076e23 -273.15",
    "table": "year\tpopulation\tarea\n1950\t12 340\t88.1\n1960\t13 011\t88.1\n1970\t15 872\t90.4\n1980\t19 205\t90.4\n1990\t21 467\t91.0\n2000\t22 913\t91.0\n",
    "russian": """Утром снег перестал, и над рекой поднялся лёгкий туман. Старый паромщик вышел на крыльцо, посмотрел на небо и сказал, что к вечеру лёд станет крепче. Никто ему не возразил: за сорок лет он ошибся только дважды.""",
    "russian_tech": """Чтобы запустить программу, сначала установите зависимости, затем выполните команду «make test». Если тесты не проходят, проверьте версию компилятора: нужна не ниже 1.85.""",
    "german": """Die Größe der Straße war für alle überraschend: Zwölf Fußgänger konnten nebeneinander gehen, ohne einander zu stören. „Früher“, sagte der Bürgermeister, „fuhren hier Straßenbahnen.“""",
    "french": """L'été dernier, nous avons loué une maison près d'Aix-en-Provence ; le matin, on n'entendait que les cigales, et l'après-midi, il faisait trop chaud pour lire.""",
    "spanish": """¿Dónde está la biblioteca? Está al final de la calle, junto al mercado. Mañana abre a las nueve, pero los niños prefieren venir por la tarde.""",
    "chinese": """春天来了,河边的柳树绿了。老师说,每个人都应该读一本好书。你喜欢读什么书?""",
    "japanese": """昨日は雨が降りましたが、今日はとても天気がいいです。駅まで歩いて15分かかります。""",
    "mixed_scripts": "Ελληνικά, עברית, العربية, हिन्दी, 한국어, ไทย: six scripts in one line.",
    "emoji": "Great job! 🎉🎉 See you at 5 👋🏽 — bring the 👨‍👩‍👧‍👦 and 🍕! ¯\\_(ツ)_/¯ ♥ ™ ½ ﬁ",
    "spaces": "a  b   c    d     e\n\n\n    four spaces\n\ttab\n \t mixed \n  trailing  \n\r\nwindows line\r\n",
    "contractions": "I'm sure they'd've said it's John's, but we'll see what he'd do; you're right, I'VE SHOUTED, and DON'T they know'em?",
    "case": "camelCase snake_case SCREAMING_SNAKE kebab-case PascalCase iPhone eBay McDonald's NASA's v2.0.1-rc3 x86_64 UTF-8 H2O",
    "urls": "See https://example.org/a/b.html?q=one%20two&lang=en#top or write to first.last+tag@mail.example.com (IPv6: 2001:db8::1, port 8080).",
    "repetition": "the the the the the the the the the the the the the the the the the the the the the the the the the the the the the the the the",
    "alphabet": "a b c d e f g h i j k l m n o p q r s t u v w x y z. Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday. One, two, three, four, five, six, seven, eight, nine, ten.",
    "chat": """<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
<|im_start|>user
Name three rivers in Europe.<|im_end|>
<|im_start|>assistant
Three rivers in Europe are the Danube, the Rhine and the Loire.<|im_end|>
""",
    "recipe_steps": """To change a flat bicycle tyre, first release the brake and remove the wheel. Push the valve into the rim and work one side of the tyre off with two levers. Pull out the tube, inflate it, and listen for the leak. Before you fit the new tube, run your fingers carefully around the inside of the tyre: whatever made the hole may still be there. Put a little air into the tube, tuck it under the tyre, and push the bead back over the rim with your thumbs, finishing at the valve. Inflate it slowly, and check that the bead is seated evenly on both sides before you ride.""",
    "economics": """Inflation is a rise in the general level of prices, not in one price alone. If bread becomes more expensive because the harvest failed, people must give up something else, and the price of that something falls. When all prices rise together, it is usually because there is more money to spend on the same quantity of goods. Central banks try to hold the rate near two per cent: low enough that nobody needs to think about it, and high enough that wages can adjust without being cut.""",
    "astronomy": """The nearest star to the Sun is Proxima Centauri, a red dwarf about 4.24 light years away. It is too faint to be seen without a telescope. In 2016 astronomers announced a planet in its habitable zone, with a mass at least 1.17 times that of the Earth and a year of only eleven days. Whether it has kept an atmosphere is not known, since its star flares often and violently.""",
    "fable": """Once upon a time there was a fox who wanted to count the stars. Every night she began at the edge of the forest, and every night she fell asleep before she reached the middle of the sky. One winter she asked the owl for help. "I will count the left half," said the owl, "and you count the right." But in the morning they could not agree where the middle had been. So they began again, and they are counting still, and that is why the owl is awake at night, and why the fox looks up before she crosses the road.""",
}

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n",
    "The three most important things to know about sleep are",
    "Q: What is the boiling point of water at sea level?\nA:",
    "1, 2, 3, 4, 5, 6, 7,",
    "In 1969, the first humans",
    "<|im_start|>user\nWrite one sentence about the moon.<|im_end|>\n<|im_start|>assistant\n",
    "Dear Sir or Madam,\n\nI am writing to",
    "Жили-были старик со старухой",
]

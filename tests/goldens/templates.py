"""Golden renderings of templates, by Debian's python3-jinja2 in the environment that transformers' apply_chat_template sets up (sandboxed and immutable,
trim_blocks, lstrip_blocks, loop controls, a generation block, tojson without escaping). The templates are our own: each uses what families of published
chat templates use, the short ones one corner each. A case whose "text" is null is one that Jinja refuses.
    apt-get install python3-jinja2 && /usr/bin/python3 tests/goldens/templates.py > tests/goldens/templates.json"""
import datetime
import json

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller):
        return caller()


def raise_exception(message):
    raise TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


NOW = datetime.datetime(2024, 7, 26, 15, 4, 5)
env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
env.filters["tojson"] = tojson
env.globals.update(raise_exception=raise_exception, strftime_now=NOW.strftime)

# Whole templates.
CHATS = {
    "tags": """{% for m in messages %}
    {# one line a message #}
    {{- '<|' ~ m.role ~ '|>\\n' + (m['content'] or '') | trim + eos_token }}
{% endfor %}
{% if add_generation_prompt %}
<|assistant|>
{% endif %}
""",
    "alternating": """{{ bos_token }}{% if messages and messages[0]['role'] == 'system' %}{% set system = '[S]' ~ messages[0]['content'] ~ '[/S]' %}{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}
{%- for m in rest -%}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('roles must take turns, found ' ~ m.role ~ ' at ' ~ loop.index) }}
    {%- endif -%}
    {%- if m.role == 'user' -%}
        {{ '[I] ' + (system if loop.first else '') + m.content|trim + ' [/I]' }}
    {%- elif m.role == 'assistant' -%}
        {% generation %}{{ ' ' + m.content|trim + ' ' + eos_token }}{% endgeneration %}
    {%- else -%}
        {{- raise_exception('unknown role ' + m.role) -}}
    {%- endif -%}
{%- endfor -%}
""",
    "tools": """{%- macro describe(schema, depth=0) -%}
    {%- if schema.type == 'object' -%}
        { {%- for name, p in schema.properties | dictsort -%}
            {{ name }}{{ '' if name in schema.get('required', []) else '?' }}: {{ describe(p, depth + 1) }}{{ ', ' if not loop.last }}
        {%- endfor -%} }
    {%- elif schema.type == 'array' -%}
        {{ describe(schema['items'], depth=depth + 1) }}[]
    {%- elif schema.enum is defined -%}
        {{ schema.enum | map('tojson') | join(' | ') }}
    {%- else -%}
        {{ schema.type | default('any') }}
    {%- endif -%}
{%- endmacro -%}
{%- if tools is defined and tools is not none and tools | length > 0 %}
# Tools
{% for tool in tools %}
{%- set f = tool.function if tool.function is defined else tool %}
- {{ f.name }}({{ describe(f.parameters) }}){% if f.description %}: {{ f.description }}{% endif %}

{{ tool | tojson }}
{{ f.parameters | tojson(indent=2) | indent(4, true) }}
{% endfor %}
{%- endif %}
{%- for m in messages %}
    {%- if m.tool_calls is defined and m.tool_calls %}
        {%- for call in m.tool_calls %}
{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson if call.function.arguments is mapping else call.function.arguments }}}
        {%- endfor %}
    {%- elif m.role == 'tool' %}
        {%- if loop.previtem is not defined or loop.previtem.role != 'tool' %}<results>{% endif %}
[{{ m.content }}]
        {%- if loop.last or loop.nextitem.role != 'tool' %}</results>{% endif %}
    {%- else %}
{{ m.role }}: {{ m.content }}
    {%- endif %}
{%- endfor %}
""",
    "thinking": """{%- set ns = namespace(last=-1, system=none, count=0) %}
{%- for m in messages[::-1] %}
    {%- set i = messages | length - 1 - loop.index0 %}
    {%- if ns.last < 0 and m.role == 'user' and m.content is string and not (m.content.startswith('<r>') and m.content.endswith('</r>')) %}
        {%- set ns.last = i %}
    {%- endif %}
    {%- if m.role == 'system' %}{% set ns.system = m.content %}{% endif %}
{%- endfor %}
{%- if ns.system is not none %}{{ 'system: ' ~ ns.system }}{% endif %}
{% for m in messages if m.role != 'system' %}
    {%- set ns.count = ns.count + 1 %}
    {%- set text = m.content if m.content is string else (m.content or []) | selectattr('type', 'equalto', 'text') | map(attribute='text') | join(' ') %}
    {%- set thought = '' %}
    {%- if m.reasoning_content is string %}
        {%- set thought = m.reasoning_content %}
    {%- elif '</think>' in text %}
        {%- set thought = text.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set text = text.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
{{ m.role }}{{ ' (' ~ thought.strip() ~ ')' if thought and loop.index0 >= ns.last }}: {{ text }}
{% endfor %}
{{- ns.count }} of {{ messages | length }}
{%- if add_generation_prompt %}{{ '\\nassistant: ' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think></think>' }}{% endif %}{% endif %}
""",
    "date": """{%- if date_string is not defined %}{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '1 Jan 2000' %}{% endif %}{% endif -%}
{% set text %}
Today is {{ date_string }}.
{% endset %}
{{ text | trim }} {{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %%') }}
{%- for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ loop.index }}{% if loop.index > 2 %}{% break %}{% endif %}{% else %}nobody{% endfor %}
""",
    "blocks": """{% macro wrap(tag, open='<', close='>') %}{{ open ~ tag ~ close }}{{ caller(tag) if caller is defined }}{{ varargs }}{{ kwargs }}{% endmacro %}
{% call(t) wrap('a', close=']') %}in {{ t }}{% endcall %}
{{ wrap('b', '(', ')', 1, 2, x=3) }}
{% filter upper | replace('E', 'é') %}
some text {{ messages | length }}
{% endfilter %}
{% with a = 1, b = messages | length %}{{ a + b }}{% endwith %}{{ a is defined }}
{% raw %}{{ not read }} {% if %}{% endraw %}
{% for k, v in {'a': 1, 'b': [2, 3]}.items() %}{{ k }}={{ v }}{{ '; ' if not loop.last else '.' }}{% endfor %}
{% set a, b = 'x', ('y', 1) %}{{ a }}{{ b }}
{% set b | upper | trim %}  block {{ a }} {% endset %}[{{ b }}]
""",
}


def user(text): return {"role": "user", "content": text}
def assistant(text, **more): return {"role": "assistant", "content": text, **more}
def called(name, arguments): return {"id": "call00001", "type": "function", "function": {"name": name, "arguments": arguments}}


SYSTEM = {"role": "system", "content": "You are terse."}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The weather of a city", "parameters": {"type": "object", "properties": {
    "city": {"type": "string"}, "days": {"type": "integer", "enum": [1, 3, 7]}, "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]
CONVERSATIONS = {
    "one": [user("Hello!")],
    "many": [SYSTEM, user("  Who are you? "), assistant("<think>\nhm\n</think>\n\nA model.\n"), user("Gr\u00fc\u00dfe \U0001f600 \"quoted\" <b>"), assistant("Hi", reasoning_content="simple")],
    "tool": [user("Paris?"), assistant(None, tool_calls=[called("weather", {"city": "Paris", "days": 3}), called("now", "{}")]), {"role": "tool", "content": "21"},
             {"role": "tool", "content": "{\"t\": 9}"}, assistant("21 degrees")],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image"}, {"type": "text", "text": "here"}]}],
    "broken": [user("a"), user("b")],
    "none": [],
}

# One corner each. d: a dict, l: a list, s: a string.
VALUES = {"d": {"b": 1, "a": [1, 2.5, None, True, "x'y"], "items": "mine"}, "l": [3, 1, 2, 1], "s": "Hello W\u00f6rld", "e": "\U0001f600\u00e9", "t": True, "n": None,
          "people": [{"name": "Ann", "age": 31, "job": {"rank": "x"}}, {"name": "bob", "age": 25}, {"name": "Cy", "age": 31, "job": {"rank": "y"}}]}
SHORT = r"""
{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}
{{ 1.0 }} {{ 0.1 }} {{ 1e16 }} {{ 123456789012345.678 }} {{ 1e-5 }} {{ 0.0001 }} {{ 1e22 }} {{ 3.0e100 }} {{ 10 / 4 }} {{ 10 / 5 }} {{ -0.0 }} {{ 5e-324 }} {{ 100000.0 * 10 }}
{{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_000 }} {{ 1.5e3 }}
{{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ 'a' == 1 }} {{ none == false }} {{ (1, 2) == [1, 2] }} {{ {'a': 1} == {'a': 1.0} }}
{{ true and 0 }} {{ '' or 'x' }} {{ not '' }} {{ not not 1 }} {{ 1 if n else 2 }} {{ 1 if n }}| {{ 'a' if t else 'b' if n else 'c' }}
{{ 'a' in 'cat' }} {{ 'z' not in 'cat' }} {{ 1 in l }} {{ 'a' in d }} {{ 1 in {1: 2} }} {{ 'x' in nothing }}
{{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1] * 2 }} {{ (1,) * 2 }} {{ [1] + [2] }} {{ (1,) + (2, 3) }} {{ 'a' 'b' }} {{ 1 ~ 2 ~ none ~ true ~ 1.0 }} {{ 'x' * -1 }}|
{{ true + 1 }} {{ true | int }} {{ -true }} {{ +5 }} {{ -5 | abs }} {{ 5 - -3 }}
{{ [1, 2.5, 'a', "it's", 'q"q', 'b\'"', none, true, [], {}, (), (1,), {'k': (1, 2)}] }}
{{ 'tab\there' }} {{ ['tab\t', 'nl\n', 'nul\0', 'é', '😀', '\x7f', '\u200b', '\\'] }} {{ '\x41\u00e9\101\q' }}
{{ l[0] }} {{ l[-1] }} {{ l[9] }}| {{ s[1] }} {{ e[0] }} {{ e[-1] }} {{ d['b'] }} {{ d.b }} {{ d.nothing }}| {{ d['nothing'] }}| {{ l.0 }} {{ d.a.1 }} {{ 'abc'[5] }}|
{{ l[1:] }} {{ l[:2] }} {{ l[::-1] }} {{ l[-2:] }} {{ l[::2] }} {{ l[5:] }} {{ l[1:-1] }} {{ s[1:4] }} {{ s[::-1] }} {{ e[::-1] }} {{ (1, 2, 3)[1:] }} {{ l[-100:100:3] }} {{ l[3:0:-2] }} {{ range(10)[2:5] | list }}
{{ d['items'] }} {{ d.items() | list }} {{ d.keys() }} {{ d.values() | list | length }} {{ d.get('z') }} {{ d.get('z', 5) }} {{ d.get('b') }} {{ d }} {{ d | length }} {{ d | list }} {{ d.items() }}
{{ undefined_thing }}| {{ undefined_thing is defined }} {{ undefined_thing | default('d') }} {{ n | default('d') }} {{ n | default('d', true) }} {{ '' | d('e', boolean=true) }} {{ undefined_thing | length }} {{ undefined_thing | upper }}| {{ undefined_thing | list }} {{ not undefined_thing }}
{{ undefined_thing.attribute }}
{{ undefined_thing + 1 }}
{{ undefined_thing() }}
{{ d.b.c }}| {{ d.zz is defined }} {{ d.zz.yy is defined }}
{{ 1 / 0 }}
{{ 'a' + 1 }}
{{ 1 < 'a' }}
{{ n.x }}| {{ n | list }}
{{ l.append(1) }}
{{ 'x' | nothere }}
{{ s | upper }} {{ s | lower }} {{ s | capitalize }} {{ s | title }} {{ 'a-b (c d)e' | title }} {{ 'straße ΑΣ' | upper }} {{ 'ΑΣ ΣΑΣ.' | lower }} {{ s | length }} {{ e | length }} {{ s | reverse }} {{ s | first }} {{ s | last }} {{ s | list }}
{{ '  x y ' | trim }}| {{ '--x--' | trim('-') }} {{ 'xaxbx' | replace('x', '_') }} {{ 'xaxbx' | replace('x', '_', 2) }} {{ 'abc' | replace('', '.') }} {{ 5 | string + '!' }} {{ '<a href="x">&\'' | escape }} {{ '<' | e }}
{{ '12' | int }} {{ '12.7' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ '0x1f' | int(base=16) }} {{ 'ff' | int(0, 16) }} {{ ' 4 ' | int }} {{ 3.9 | int }} {{ -3.9 | int }} {{ '1_0' | int }} {{ '3.5' | float }} {{ 'x' | float(1.5) }} {{ 3 | float }} {{ none | int }} {{ '1e3' | float }}
{{ 42.55 | round }} {{ 42.55 | round(1) }} {{ 2.5 | round }} {{ 3.5 | round | int }} {{ 42.51 | round(1, 'floor') }} {{ 42.51 | round(1, 'ceil') }} {{ 7 | round }} {{ -3 | abs }} {{ -3.5 | abs }}
{{ l | sort }} {{ l | sort(reverse=true) }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A', 'c'] | sort(case_sensitive=true) }} {{ l | unique | list }} {{ ['a', 'A', 'b'] | unique | list }} {{ l | reverse | list }} {{ l | first }} {{ l | last }} {{ l | sum }} {{ l | min }} {{ l | max }} {{ l | join(', ') }} {{ l | join }} {{ [] | first }}| {{ l | length }} {{ l | count }}
{{ people | map(attribute='name') | join(' ') }} {{ people | map(attribute='job.rank', default='-') | list }} {{ people | selectattr('job') | map(attribute='name') | list }} {{ people | rejectattr('age', 'eq', 31) | map(attribute='name') | list }} {{ people | sort(attribute='age') | map(attribute='name') | list }} {{ people | selectattr('age', 'gt', 30) | list | length }} {{ people | sum(attribute='age') }} {{ people | join(',', attribute='name') }} {{ people | map(attribute='age') | unique | list }}
{{ l | select('odd') | list }} {{ l | reject('odd') | list }} {{ [0, 1, '', 'x', none] | select | list }} {{ [0, 1, ''] | reject | list }} {{ ['a', 'b'] | map('upper') | list }} {{ [1, 2] | map('string') | join('+') }} {{ ['1', 'x'] | map('int', 9) | list }} {{ l | select('in', [1, 2]) | list }} {{ l | map('float') | list }}
{{ 'yes' if people | selectattr('name', 'eq', 'nobody') else 'no' }} {{ (l | map('string')) is iterable }} {{ (l | map('string')) is sequence }}
{{ d | dictsort }} {{ {'b': 2, 'A': 3, 'c': 1} | dictsort }} {{ {'b': 2, 'A': 3, 'c': 1} | dictsort(by='value') }} {{ {'b': 2, 'A': 3} | dictsort(true, 'key', true) }} {{ d | items | list }} {{ l | batch(3) | list }} {{ l | batch(3, 0) | list }} {{ d | attr('b') }}|
{{ d | tojson }} {{ d | tojson(indent=2) }} {{ e | tojson }} {{ e | tojson(ensure_ascii=true) }} {{ [1.0, 1e20, 0.1, true, none, 'a/b"\\\n\u2028\x01', (1, 2)] | tojson }} {{ {'b': 1, 'a': {}} | tojson(sort_keys=true) }} {{ {'b': [1, []]} | tojson(separators=(',', ':')) }} {{ [[], {}, [1]] | tojson(indent=1) }} {{ {1: 2, none: 3, true: 4} | tojson }} {{ [1] | tojson(indent='\t') }} {{ [1, [2]] | tojson(indent=0) }}
{{ 'a\nb\n\nc' | indent }}| {{ 'a\nb' | indent(2, true) }}| {{ 'a\n\nb\n' | indent(2, blank=true) }}| {{ 'a\nb' | indent('> ') }}| {{ 'a\nb\n' | indent }}| {{ '' | indent }}|
{{ '%s is %d, %.2f %5s|%-5s| %x %r %%' | format('a', 3, 2.5, 'b', 'c', 255, 'd') }} {{ '%s-%s' % (1, 2) }} {{ '%s' % 'x' }} {{ '%03d %+d %e' % (7, 5, 12345.678) }} {{ '%5.1f|%.3s|' % (2.25, 'abcdef') }}
{{ 5 is odd }} {{ 5 is even }} {{ 6 is divisibleby 3 }} {{ 6 is divisibleby(4) }} {{ n is none }} {{ s is string }} {{ d is mapping }} {{ l is sequence }} {{ s is sequence }} {{ d is iterable }} {{ 1 is number }} {{ true is number }} {{ 1.5 is float }} {{ 1 is integer }} {{ true is integer }} {{ true is boolean }} {{ true is true }} {{ 1 is true }} {{ false is false }}
{{ 1 is eq 1 }} {{ 1 is equalto(2) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ 1 is in l }} {{ 'x' is in 'xyz' }} {{ 'AB' is upper }} {{ 'ab' is lower }} {{ n is not none }} {{ nothing is not defined }} {{ range is callable }} {{ n is sameas none }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ nothing is iterable }} {{ nothing is sequence }} {{ 1 is iterable }} {{ l is mapping }} {{ s is defined and n is none or 1 is undefined }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b  c'.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ 'a\nb\r\nc'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ 'k=v=w'.partition('=') }} {{ 'k=v=w'.rpartition('=') }} {{ 'k'.partition('=') }} {{ ''.split() }} {{ ''.split(',') }}
{{ ' x '.strip() }}| {{ ' x '.lstrip() }}| {{ ' x '.rstrip() }}| {{ 'xxaxx'.strip('x') }} {{ '<t>a</t>'.lstrip('<t>').rstrip('</t>') }} {{ 'é é'.strip('é') }}|
{{ s.startswith('He') }} {{ s.endswith('ld') }} {{ s.startswith(('x', 'H')) }} {{ s.startswith('e', 1) }} {{ s.find('o') }} {{ s.find('zz') }} {{ s.rfind('l') }} {{ e.find('é') }} {{ s.count('l') }} {{ 'aaa'.count('aa') }} {{ s.index('W') }} {{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ 'ab'.replace('', '-') }}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ "they're x1y".title() }} {{ s.capitalize() }} {{ s.swapcase() }} {{ ', '.join(['a', 'b']) }} {{ 'ab'.center(7, '*') }} {{ 'ab'.center(5) }}| {{ 'abc'.center(6) }}| {{ 'ab'.ljust(4) }}| {{ 'ab'.rjust(4, '.') }} {{ '-5'.zfill(4) }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('bc') }}
{{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' '.isspace() }} {{ 'AB'.isupper() }} {{ 'ab'.islower() }} {{ ''.isdigit() }} {{ l.index(2) }} {{ l.count(1) }} {{ (1, 2).index(2) }}
{% for i in range(3) %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.cycle('a', 'b') }}{{ loop.changed(i // 2) }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}
{% for i in l %}{% for j in s[:2] %}{{ loop.depth }}{{ i }}{{ j }}{% endfor %}{% else %}no{% endfor %} {% for i in [] %}{% else %}empty{% endfor %} {% for i in nothing %}x{% endfor %} {% for c in e %}[{{ c }}]{% endfor %} {% for k in d %}{{ k }},{% endfor %}
{% for a, (b, c) in [(1, (2, 3)), [4, '56']] %}{{ a }}{{ b }}{{ c }};{% endfor %} {% for i in l if i > 1 %}{{ loop.index }}{{ i }}{{ loop.last }};{% endfor %} {% for i in l if i > 9 %}{% else %}none{% endfor %} {% for x in 1, 2 %}{{ x }}{% endfor %}
{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }} {% if true %}{% set x = 5 %}{% endif %}{{ x }} {% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }} {% set ns2 = namespace({'a': 1}, b=2) %}{{ ns2.a }}{{ ns2.b }}{{ ns2.c }}|{{ ns2['a'] }}
{% macro f(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{{ x }}{% endmacro %}{{ f(1) }} {{ f(1, 3) }} {{ f(b=5, a=4) }} {{ f() }} {% set x = 'later' %}{{ f(1) }} {{ f.name }} {{ f(1) | length }} {{ f(*[1, 2], **{'c': 3}) }}
{% macro fact(n) %}{% if n > 1 %}{{ n * (fact(n - 1) | int) }}{% else %}1{% endif %}{% endmacro %}{{ fact(10) }}
{{ f(1) }}{% macro f(a) %}{% endmacro %}
{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{% endmacro %}{{ f(z=2) }}
{{ dict(a=1, b='x') }} {{ dict([('k', 1)]) }} {{ range(5) }} {{ range(1, 10, 3) | list }} {{ range(3, 0, -1) | list }} {{ range(0) | list }} {{ {1: 'a', 1.0: 'b', true: 'c'} }} {{ {'a': 1}['a'] }} {{ {(1, 2): 3}[(1, 2)] }}
a {%- if true -%} b {%- endif -%} c {{- ' d ' -}} e {#- note -#} f {%+ if true +%} g {%+ endif %} h {#+ x +#} i
{{ raise_exception('stop') }}
{{ '}}' }} {{ "{% if %}" }} {{ {'a': {'b': '}}'}}.a.b }} {{ ('a', 'b')[1] }} {{ (1, 2, ) }} {{ [1, 2, ] }} {{ {'a': 1, } }} {{ () }} {{ 1, 2 }}
{{ 'x' is string and 'y' }} {{ not 1 is none }} {{ 1 + 1 is odd }} {{ 2 * 3 | string }} {{ -1 | abs }} {{ 'a' ~ 1 + 1 }} {{ 'a' ~ 'b' | upper }} {{ ('a' ~ 'b') | upper }} {{ 1 ~ (2 ~ 3) ~ 4 }} {{ 10 - 2 - 3 }} {{ 2 * 3 % 4 }} {{ not true == false }}
{{ none }} {{ None }} {{ True }} {{ false }} {{ [none] }} {{ n ~ '' }} {{ (n, ) }} {{ t }} {{ undefined_thing ~ 'x' }} {{ [undefined_thing] }}
{{ range(100001) }}
{{ d.update({'x': 1}) }}
{% set s.x = 1 %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% set a, b = 1 %}
{% for x in 5 %}{% endfor %}
{{ 'abc' | first ~ ([1, 2] | last) }} {{ [[1, 2], [3]] | sum(start=[]) }} {{ [3, 1] | sort | first }} {{ ['x'] | join(', ') ~ '.' }} {{ 'abc'[1:] | upper }} {{ 'abc'.upper()[0] }} {{ ('%02d' % 5) ~ '!' }} {{ s.split(' ')[-1] | lower }} {{ (s.split('o') | map('trim') | list)[0] }}
""".strip("\n").split("\n")
# White space around tags, where line ends matter.
SPACES = [
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "  {% if true %}  x{% endif %}  \n", "a {% if true %}\n\nb{% endif %}\n\n", "x\n  {#- c -#}\n y", "x\n  {# c #}\n y",
    "  {{ 1 }}\n  {{- 2 }}\n{{ 3 -}}\n  4", "\t{% set a = 1 %}\n\t{{ a }}\n", "{% raw %}\n  x\n  {% endraw %}\n y", "a\n  {%- raw -%}  x  {%- endraw -%}\n y", "{% if true %}\r\nx\r\n{% endif %}\r\ny\r\n",
    "a\n\n", "\n", "", "{%+ if true %}\n x{% endif +%}\ny", "  {%+ if true %}x{% endif %}", "{% if true %}{# c #}\n  {% endif %}x", "a{% if true %} \n b{% endif %}", "{% for i in [1, 2] %}\n  {{ i }}\n{% endfor %}\n",
    "{% for i in [1, 2] -%}\n  {{ i }}\n{%- endfor %}\n.", "{{ 'a\nb' }}{{ 'c\r\nd' }}", "x \u00a0{%- if true %}y{% endif %}", "{% generation %}\n a\n  {% endgeneration %}\nb", "{#-#}x{#- -#} y {#--#}\nz",
]


def render(source, variables):
    try:
        return env.from_string(source).render(**variables)
    except Exception:
        return None


cases = [{"name": f"short {i + 1}", "template": source, "variables": "values", "text": render(source, VALUES)} for i, source in enumerate(SHORT)]
cases += [{"name": f"space {i + 1}", "template": source, "variables": "values", "text": render(source, VALUES)} for i, source in enumerate(SPACES)]
variables = {"values": VALUES}
for name, messages in CONVERSATIONS.items():
    for more in range(3):
        key = f"{name} {more}"
        variables[key] = {"messages": messages, "tools": TOOLS if more == 1 else None, "documents": None, "add_generation_prompt": more > 0, "bos_token": "<s>", "eos_token": "</s>"}
        if more == 2:
            variables[key].update(enable_thinking=False, date_string="3 May 2023")
        for template, source in CHATS.items():
            cases.append({"name": f"{template}, {key}", "template": source, "variables": key, "text": render(source, variables[key])})
templates = {}
for case in cases:
    case["template"] = templates.setdefault(case["template"], len(templates))
print(json.dumps({"templates": list(templates), "variables": variables, "cases": cases}, indent=0, ensure_ascii=True))

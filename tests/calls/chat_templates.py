"""Chat templates in the shapes that models have them, without and with a place for tools."""

from __future__ import annotations

# Models whose template shows no tools, by the family that edgetool takes them for.
WITHOUT_TOOLS = {
    "smollm2": (
        "chatml",
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
        "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
    "chatml": (
        "chatml",
        "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + "
        "'<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
    "internlm2": (
        "chatml",
        "{{ bos_token }}{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + "
        "m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
    "a default with quotes": (
        "chatml",
        "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\nIt\\'s \"Zoë\" 🎉, a \\\\n"
        "<|im_end|>\n' }}{% endif %}{% for m in messages %}{{- '<|im_start|>' + m.role + '\n' + "
        "m.content + '<|im_end|>\n' }}{% endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}",
    ),
    "phi-3.5": (
        "phi3",
        "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
        "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
        "{% elif message['role'] == 'user' %}"
        "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
        "{% elif message['role'] == 'assistant' %}"
        "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    ),
    "phi-4-mini": (
        "phi4_mini",
        "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message "
        "and message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] "
        "+ '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}"
        "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}"
        "{% else %}{{ eos_token }}{% endif %}",
    ),
    "phi-4": (
        "phi4",
        "{% for message in messages %}{% if (message['role'] == 'system') %}"
        "{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}"
        "{% elif (message['role'] == 'user') %}"
        "{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}"
        "{% elif (message['role'] == 'assistant') %}"
        "{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}"
        "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    ),
    "tinyllama": (
        "zephyr",
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
        "{{ '<|user|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'system' %}\n"
        "{{ '<|system|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'assistant' %}\n"
        "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"
        "{% endif %}\n{% if loop.last and add_generation_prompt %}\n"
        "{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    ),
    "llama-3": (
        "llama3",
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
        "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
        "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ),
    "llama-2": (
        "llama2",
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system_message = messages[0]['content'] %}{% else %}"
        "{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
        "{% for message in loop_messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}"
        "{% if loop.index0 == 0 and system_message != false %}"
        "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + "
        "message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
        "{% if message['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}"
        "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    ),
    "mistral-7b-v0.2": (
        "mistral",
        "{{ bos_token }}{% for message in messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}"
        "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
        "{% else %}{{ raise_exception('Only user and assistant') }}{% endif %}{% endfor %}",
    ),
    "mistral-7b-v0.1": (
        "mistral",
        "{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}"
        "{% else %}{{ raise_exception('Only user and assistant') }}{% endif %}{% endfor %}",
    ),
    "mistral-7b-v0.3": (
        "mistral",
        "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] "
        "%}{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}"
        "{%- endif %}{{- bos_token }}{%- for message in loop_messages %}"
        "{%- if message['role'] == 'user' %}{%- if loop.first and system_message is defined %}"
        "{{- ' [INST] ' + system_message + '\n\n' + message['content'] + ' [/INST]' }}{%- else %}"
        "{{- ' [INST] ' + message['content'] + ' [/INST]' }}{%- endif %}"
        "{%- elif message['role'] == 'assistant' %}{{- ' ' + message['content'] + eos_token }}"
        "{%- endif %}{%- endfor %}",
    ),
    "gemma-2": (
        "gemma",
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}"
        "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
        "{% else %}{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    ),
    "gemma-3": (
        "gemma",
        "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n"
        "    {%- if messages[0]['content'] is string -%}\n"
        "        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}\n"
        "    {%- else -%}\n"
        "        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}\n"
        "    {%- endif -%}\n    {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n"
        '    {%- set first_user_prefix = "" -%}\n    {%- set loop_messages = messages -%}\n'
        "{%- endif -%}\n{%- for message in loop_messages -%}\n"
        "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}\n"
        '        {{ raise_exception("roles must alternate") }}\n    {%- endif -%}\n'
        "    {%- if (message['role'] == 'assistant') -%}\n"
        '        {%- set role = "model" -%}\n    {%- else -%}\n'
        "        {%- set role = message['role'] -%}\n    {%- endif -%}\n"
        "    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else \"\") }}\n"
        "    {%- if message['content'] is string -%}\n"
        "        {{ message['content'] | trim }}\n"
        "    {%- elif message['content'] is iterable -%}\n"
        "        {%- for item in message['content'] -%}\n"
        "            {%- if item['type'] == 'image' -%}\n"
        "                {{ '<start_of_image>' }}\n"
        "            {%- elif item['type'] == 'text' -%}\n"
        "                {{ item['text'] | trim }}\n"
        "            {%- endif -%}\n        {%- endfor -%}\n    {%- else -%}\n"
        '        {{ raise_exception("Invalid content type") }}\n    {%- endif -%}\n'
        "    {{ '<end_of_turn>\n' }}\n{%- endfor -%}\n"
        "{%- if add_generation_prompt -%}\n    {{'<start_of_turn>model\n'}}\n{%- endif -%}\n",
    ),
}

# One thing each that templates do; the conversation's tools are in the last group.
SHAPES = {
    "generation tag": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}<end>{% endgeneration %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}",
    "generation tag with dashes": "{%- for m in messages %}\n  {%- generation %}\n  "
    "{{- m.content }}\n  {%- endgeneration %}\n{%- endfor %}",
    "set inside a generation block": "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}"
    "{% endgeneration %}{{ x }}",
    "generation in a macro": "{% macro turn(m) %}{% generation %}[{{ m.content }}]"
    "{% endgeneration %}{% endmacro %}{% for m in messages %}{{ turn(m) }}{% endfor %}",
    "break and continue": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}"
    "{% endif %}{% if loop.index0 > 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "the day": "{{ strftime_now('%Y-%m-%d') }}{{ messages[0].content }}",
    "the day if there is one": "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}"
    "{% endif %}",
    "blocks that trim": "  {% for m in messages %}\n    {{ m.content }}\n  {% endfor %}\nend\n",
    "a namespace": "{% set ns = namespace(n=0, last='') %}{% for m in messages %}"
    "{% set ns.n = ns.n + 1 %}{% set ns.last = m.role %}{% endfor %}{{ ns.n }}{{ ns.last }}",
    "a namespace of itself": "{% set ns = namespace({'a': 1}, self=2) %}{{ ns.a }}{{ ns.self }}",
    "a dict made": "{% set d = dict(a=1, b=messages[0].content) %}{{ d | tojson }}{{ d.b }}",
    "dict from keys": "{{ dict.fromkeys(['a', 'b'], 0) | tojson }}",
    "tests for names": "{{ tools is defined }}{{ documents is defined }}{{ documents is none }}"
    "{{ custom_tools is defined }}{{ add_generation_prompt is true }}",
    "filters": "{{ messages | map(attribute='role') | join(',') }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
    "{{ messages[0].content | upper | replace('O', '0') | indent(2, true) }}",
    "slices": "{% for m in messages[1:] %}{{ m['content'][:3] }}{% endfor %}"
    "{{ messages[-1].role }}",
    "neighbours": "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined }}>"
    "{{ loop.nextitem.role if loop.nextitem is defined }};{% endfor %}",
    "text methods": "{% for m in messages %}{% set c = m.content or '' %}"
    "{{ c.strip().split(' ')[0].lstrip('w') }}{{ c.startswith('We') }}{% endfor %}",
    "arguments as text": "{% for m in messages %}{% for c in m.tool_calls or [] %}"
    "{{ c.function.arguments if c.function.arguments is string else "
    "c.function.arguments | tojson }}{% endfor %}{% endfor %}",
    "tojson": "{{ tools | tojson }}",
    "tojson indented": "{% for tool in tools or [] %}{{ tool | tojson(indent=4) }}\n{% endfor %}",
    "tojson indented by text": "{{ tools | tojson(indent='\t') }}",
    "tojson in ASCII": "{{ tools | tojson(ensure_ascii=True) }}{{ messages | tojson(true) }}",
    "tojson compact": "{{ tools | tojson(separators=(',', ':')) }}",
    "tojson sorted": "{{ tools | tojson(sort_keys=True, indent=2) }}",
    "tojson with all": "{{ tools | tojson(ensure_ascii=false, indent=none, separators=(', ', '='), "
    "sort_keys=true) }}",
    "tools by items": "{% for t in tools or [] %}{% for k, v in "
    "t.function.parameters.properties.items() %}{{ k }}={{ v.type }};{% endfor %}{% endfor %}",
    "dictsort": "{% for t in tools or [] %}{% for k, v in t.function.parameters | dictsort %}"
    "{{ k }}{{ v }}{% endfor %}{% endfor %}",
    "safe and escaped": "{{ '<a> & b' | safe }}{{ '<a>' | e }}{{ messages[0].content }}",
    "a call block": "{% macro box(t) %}[{{ t }}:{{ caller() }}]{% endmacro %}"
    "{% call box('x') %}{{ messages[0].content }}{% endcall %}",
    "raw": "{% raw %}{{ not this }}{% endraw %}{{ messages | length }}",
}

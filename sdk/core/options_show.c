/* options_show.c: values as they are typed, and as JSON. */
#include "options_internal.h"

#include <inttypes.h>

static void show_size(etk_text *out, int64_t bytes) {
  static const struct { int shift; const char *unit; } units[] = {{40, "TiB"}, {30, "GiB"}, {20, "MiB"}, {10, "KiB"}};
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
    if (bytes && bytes % ((int64_t)1 << units[i].shift) == 0) {
      etk_text_printf(out, "%" PRId64 "%s", bytes / ((int64_t)1 << units[i].shift), units[i].unit);
      return;
    }
  etk_text_printf(out, "%" PRId64, bytes);
}

static void show_duration(etk_text *out, int64_t ns) {
  static const struct {
    int64_t ns;
    const char *unit;
  } units[] = {{3600000000000, "h"}, {60000000000, "m"}, {1000000000, "s"}, {1000000, "ms"}, {1000, "us"}, {1, "ns"}};
  if (!ns) etk_text_puts(out, "0s");
  for (size_t i = 0; ns && i < sizeof units / sizeof units[0]; i++)
    if (ns % units[i].ns == 0) {
      etk_text_printf(out, "%" PRId64 "%s", ns / units[i].ns, units[i].unit);
      return;
    }
}

/* A ',' of an item is "\\,", and backslashes before a ',' are doubled, as they are read. */
static void show_item(etk_text *out, const char *item, bool last) {
  while (*item) {
    size_t run = strspn(item, "\\");
    bool before = item[run] == ',' || (!item[run] && !last);
    for (size_t i = before ? 2 * run : run; i; i--) etk_text_putc(out, '\\');
    item += run;
    if (*item == ',') etk_text_putc(out, '\\');
    if (*item) etk_text_putc(out, *item++);
  }
}

void etk_value_show(etk_text *out, uint32_t kind, const etk_value *value) {
  if (kind == ETK_KIND_secret) {
    etk_text_puts(out, value->source == ETK_FROM_UNSET ? "(unset)" : "(set)");
    return;
  }
  if (value->source == ETK_FROM_UNSET) {
    etk_text_puts(out, "-");
    return;
  }
  switch (kind) {
  case ETK_KIND_int: etk_text_printf(out, "%" PRId64, value->integer); break;
  case ETK_KIND_real: etk_text_real(out, value->real); break;
  case ETK_KIND_flag: etk_text_puts(out, value->integer ? "yes" : "no"); break;
  case ETK_KIND_size: show_size(out, value->integer); break;
  case ETK_KIND_duration: show_duration(out, value->integer); break;
  case ETK_KIND_ints:
    for (size_t i = 0; i < value->ints.count; i++) etk_text_printf(out, "%s%" PRId64, i ? "," : "", value->ints.items[i]);
    break;
  case ETK_KIND_reals:
    for (size_t i = 0; i < value->reals.count; i++) {
      if (i) etk_text_putc(out, ',');
      etk_text_real(out, value->reals.items[i]);
    }
    break;
  case ETK_KIND_texts:
    if (value->texts.count && etk__flow_begins(kind, value->texts.items[0])) { /* it would be read as a list of YAML, so that is what it is */
      for (size_t i = 0; i < value->texts.count; i++) {
        etk_text_puts(out, i ? "," : "[");
        etk__text_quote(out, value->texts.items[i]);
      }
      etk_text_putc(out, ']');
      break;
    }
    for (size_t i = 0; i < value->texts.count; i++) {
      if (i) etk_text_putc(out, ',');
      show_item(out, value->texts.items[i], i + 1 == value->texts.count);
    }
    break;
  case ETK_KIND_map:
    for (size_t i = 0; i < value->map.count; i++) etk_text_printf(out, "%s%s=%s", i ? " " : "", value->map.keys[i], value->map.values[i]);
    break;
  default: etk_text_puts(out, value->text ? value->text : ""); break;
  }
}

static void json_text(etk_text *out, const char *text) {
  if (text) etk_text_json(out, text, strlen(text));
  else etk_text_puts(out, "null");
}

void etk_value_json(etk_text *out, uint32_t kind, const etk_value *value) {
  if (kind == ETK_KIND_secret) {
    json_text(out, value->source == ETK_FROM_UNSET ? NULL : "(set)");
    return;
  }
  if (value->source == ETK_FROM_UNSET) {
    etk_text_puts(out, "null");
    return;
  }
  switch (kind) {
  case ETK_KIND_int: case ETK_KIND_size: etk_text_printf(out, "%" PRId64, value->integer); break;
  case ETK_KIND_real: etk_text_real(out, value->real); break;
  case ETK_KIND_duration: etk_text_real(out, (double)value->integer / 1e9); break;
  case ETK_KIND_flag: etk_text_puts(out, value->integer ? "true" : "false"); break;
  case ETK_KIND_ints:
    etk_text_putc(out, '[');
    for (size_t i = 0; i < value->ints.count; i++) etk_text_printf(out, "%s%" PRId64, i ? "," : "", value->ints.items[i]);
    etk_text_putc(out, ']');
    break;
  case ETK_KIND_reals:
    etk_text_putc(out, '[');
    for (size_t i = 0; i < value->reals.count; i++) {
      if (i) etk_text_putc(out, ',');
      etk_text_real(out, value->reals.items[i]);
    }
    etk_text_putc(out, ']');
    break;
  case ETK_KIND_texts:
    etk_text_putc(out, '[');
    for (size_t i = 0; i < value->texts.count; i++) {
      if (i) etk_text_putc(out, ',');
      json_text(out, value->texts.items[i]);
    }
    etk_text_putc(out, ']');
    break;
  case ETK_KIND_map:
    etk_text_putc(out, '{');
    for (size_t i = 0; i < value->map.count; i++) {
      if (i) etk_text_putc(out, ',');
      json_text(out, value->map.keys[i]);
      etk_text_putc(out, ':');
      json_text(out, value->map.values[i]);
    }
    etk_text_putc(out, '}');
    break;
  default: json_text(out, value->text); break;
  }
}

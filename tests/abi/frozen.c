/* frozen.c: the layout of ABI 1.0 on machines with 64-bit pointers, fixed for ever. Compiled as C11 and as C++17 (matrix.sh); fields may be appended, and
 * nothing here may change: a failing line means that plugins which exist would break. */
#include <etk/project.h>

#ifdef __cplusplus
#define FROZEN(condition) static_assert(condition, #condition)
#else
#define FROZEN(condition) _Static_assert(condition, #condition)
#endif
#define AT(type, field, offset) FROZEN(offsetof(type, field) == (offset))
#define LEAST(type, size) FROZEN(sizeof(type) >= (size))
#define EXACT(type, size) FROZEN(sizeof(type) == (size))

FROZEN(sizeof(void *) == 8);
FROZEN(ETK_ABI_MAJOR == 1);
FROZEN(ETK_NOTE_TYPE == 0x314B5445);

EXACT(etk_status, 4);
FROZEN(ETK_OK == 0 && ETK_E_USAGE == 1 && ETK_E_INVALID == 2 && ETK_E_NOT_FOUND == 3 && ETK_E_EXISTS == 4 && ETK_E_FORMAT == 5);
FROZEN(ETK_E_UNSUPPORTED == 6 && ETK_E_SHAPE == 7 && ETK_E_IO == 8 && ETK_E_NO_SPACE == 9 && ETK_E_PERMISSION == 10 && ETK_E_NO_MEMORY == 11);
FROZEN(ETK_E_CANCELLED == 12 && ETK_E_UNAVAILABLE == 13 && ETK_E_CHECK == 14 && ETK_E_INTERNAL == 15);

FROZEN(ETK_KIND_int == 1 && ETK_KIND_real == 2 && ETK_KIND_flag == 3 && ETK_KIND_text == 4 && ETK_KIND_path == 5 && ETK_KIND_choice == 6);
FROZEN(ETK_KIND_secret == 7 && ETK_KIND_size == 8 && ETK_KIND_duration == 9 && ETK_KIND_ints == 10 && ETK_KIND_reals == 11 && ETK_KIND_texts == 12);
FROZEN(ETK_KIND_map == 13);
FROZEN(ETK_NEED_REQUIRED == 1 && ETK_NEED_OPTIONAL == 2 && ETK_NEED_VARIADIC == 3);
FROZEN(ETK_TRACKED == 1 && ETK_HIDDEN == 2 && ETK_ADVANCED == 4 && ETK_LOCAL == 8);
FROZEN(ETK_FROM_UNSET == 0 && ETK_FROM_DEFAULT == 1 && ETK_FROM_PROFILE == 2 && ETK_FROM_CONFIG == 3 && ETK_FROM_ENVIRONMENT == 4);
FROZEN(ETK_FROM_SET == 5 && ETK_FROM_COMMAND_LINE == 6);

/* What a command gets by value or finds in its options. */
EXACT(ETK__TYPE_int, 8);
EXACT(ETK__TYPE_real, 8);
EXACT(ETK__TYPE_flag, 1);
EXACT(ETK__TYPE_text, 8);
EXACT(ETK__TYPE_path, 8);
EXACT(ETK__TYPE_choice, 8);
EXACT(ETK__TYPE_secret, 8);
EXACT(ETK__TYPE_size, 8);
EXACT(ETK__TYPE_duration, 8);
EXACT(struct etk_ints, 16);
EXACT(struct etk_reals, 16);
EXACT(struct etk_texts, 16);
EXACT(struct etk_map_text, 24);
AT(struct etk_ints, items, 0);
AT(struct etk_ints, count, 8);
AT(struct etk_reals, items, 0);
AT(struct etk_reals, count, 8);
AT(struct etk_texts, items, 0);
AT(struct etk_texts, count, 8);
AT(struct etk_map_text, keys, 0);
AT(struct etk_map_text, values, 8);
AT(struct etk_map_text, count, 16);

LEAST(etk_argument_row, 32);
AT(etk_argument_row, kind, 0);
AT(etk_argument_row, need, 4);
AT(etk_argument_row, name, 8);
AT(etk_argument_row, limits, 16);
AT(etk_argument_row, help, 24);

LEAST(etk_option_row, 64);
AT(etk_option_row, offset, 0);
AT(etk_option_row, size, 4);
AT(etk_option_row, kind, 8);
AT(etk_option_row, flags, 12);
AT(etk_option_row, name, 16);
AT(etk_option_row, default_text, 24);
AT(etk_option_row, limits, 32);
AT(etk_option_row, group, 40);
AT(etk_option_row, aliases, 48);
AT(etk_option_row, help, 56);

LEAST(etk_command_row, 56);
AT(etk_command_row, name, 0);
AT(etk_command_row, summary, 8);
AT(etk_command_row, arguments, 16);
AT(etk_command_row, options, 24);
AT(etk_command_row, argument_count, 32);
AT(etk_command_row, option_count, 36);
AT(etk_command_row, flags, 40);
AT(etk_command_row, options_size, 44);
AT(etk_command_row, run, 48);

LEAST(etk_project, 96);
AT(etk_project, struct_size, 0);
AT(etk_project, abi_major, 4);
AT(etk_project, abi_minor, 6);
AT(etk_project, host_minor, 8);
AT(etk_project, reserved, 10);
AT(etk_project, command_count, 12);
AT(etk_project, command_stride, 16);
AT(etk_project, argument_stride, 20);
AT(etk_project, option_stride, 24);
AT(etk_project, note_size, 28);
AT(etk_project, note, 32);
AT(etk_project, name_space, 40);
AT(etk_project, version, 48);
AT(etk_project, summary, 56);
AT(etk_project, commands, 64);
AT(etk_project, init, 72);
AT(etk_project, deinit, 80);
AT(etk_project, query, 88);

EXACT(etk_cell, 40); /* rows of results are arrays without a stride: this one can never grow */
AT(etk_cell, name, 0);
AT(etk_cell, kind, 8);
AT(etk_cell, integer, 16);
AT(etk_cell, real, 24);
AT(etk_cell, text, 32);

LEAST(struct etk_host, 112);
AT(struct etk_host, struct_size, 0);
AT(struct etk_host, abi_major, 4);
AT(struct etk_host, abi_minor, 6);
AT(struct etk_host, version, 8);
AT(struct etk_host, log, 16);
AT(struct etk_host, progress, 24);
AT(struct etk_host, cancelled, 32);
AT(struct etk_host, metric, 40);
AT(struct etk_host, result, 48);
AT(struct etk_host, result_row, 56);
AT(struct etk_host, result_json, 64);
AT(struct etk_host, artifact, 72);
AT(struct etk_host, given, 80);
AT(struct etk_host, fail, 88);
AT(struct etk_host, text, 96);
AT(struct etk_host, directory, 104);
AT(struct etk_run, host, 0);

/* Each options struct begins with its size; an empty list makes a struct of that alone. */
#define OPTIONS(OPT) OPT(flag, loud, "no", "", "", "", 0, "one byte") OPT(int, times, "1", "", "", "", 0, "aligned")
#define COMMANDS(CMD) CMD(one, ETK_NONE, OPTIONS, 0, "With options") CMD(two, ETK_NONE, ETK_NONE, 0, "Without")
ETK_PROJECT("frozen", "1.0.0", "A layout", COMMANDS)
static etk_status one_run(etk_run *run, const struct one_options *o) { return (void)run, (void)o, ETK_OK; }
static etk_status two_run(etk_run *run, const struct two_options *o) { return (void)run, (void)o, ETK_OK; }
AT(struct one_options, struct_size, 0);
AT(struct one_options, reserved, 4);
AT(struct one_options, loud, 8);
AT(struct one_options, times, 16);
EXACT(struct two_options, 8);
/* The note: three numbers, the name, the text. */
AT(struct etk__note_layout, type, 8);
AT(struct etk__note_layout, name, 12);
AT(struct etk__note_layout, text, 16);

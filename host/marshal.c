#include "marshal.h"

#include <etk/alloc.h>
#include <ffi.h>

/* How each kind crosses: its size, its libffi type and where it lies in etk_value. */
static ffi_type *list_elements[] = {&ffi_type_pointer, NULL /* size_t, set below */, NULL},
                *map_elements[] = {&ffi_type_pointer, &ffi_type_pointer, NULL, NULL};
static ffi_type list_type = {0, 0, FFI_TYPE_STRUCT, list_elements}, map_type = {0, 0, FFI_TYPE_STRUCT, map_elements};

/* size_t has no name of its own in libffi. */
static ffi_type *size_type(void) { return sizeof(size_t) == 8 ? &ffi_type_uint64 : &ffi_type_uint32; }

static const struct crossing {
  size_t size, offset;
  ffi_type *type;
} crossings[] = {
    [ETK_KIND_int] = {sizeof(int64_t), offsetof(etk_value, integer), &ffi_type_sint64},
    [ETK_KIND_real] = {sizeof(double), offsetof(etk_value, real), &ffi_type_double},
    [ETK_KIND_flag] = {sizeof(bool), 0, &ffi_type_uint8}, /* converted: a bool is not an int64_t */
    [ETK_KIND_text] = {sizeof(char *), offsetof(etk_value, text), &ffi_type_pointer},
    [ETK_KIND_path] = {sizeof(char *), offsetof(etk_value, text), &ffi_type_pointer},
    [ETK_KIND_choice] = {sizeof(char *), offsetof(etk_value, text), &ffi_type_pointer},
    [ETK_KIND_secret] = {sizeof(char *), offsetof(etk_value, text), &ffi_type_pointer},
    [ETK_KIND_size] = {sizeof(int64_t), offsetof(etk_value, integer), &ffi_type_sint64},
    [ETK_KIND_duration] = {sizeof(int64_t), offsetof(etk_value, integer), &ffi_type_sint64},
    [ETK_KIND_ints] = {sizeof(struct etk_ints), offsetof(etk_value, ints), &list_type},
    [ETK_KIND_reals] = {sizeof(struct etk_reals), offsetof(etk_value, reals), &list_type},
    [ETK_KIND_texts] = {sizeof(struct etk_texts), offsetof(etk_value, texts), &list_type},
    [ETK_KIND_map] = {sizeof(struct etk_map_text), offsetof(etk_value, map), &map_type},
};
_Static_assert(sizeof(bool) == 1, "a flag crosses as one byte");
_Static_assert(sizeof(struct etk_ints) == sizeof(void *) + sizeof(size_t), "lists are a pointer and a count");

static const struct crossing *crossing_of(uint32_t kind) {
  return kind && kind < sizeof crossings / sizeof crossings[0] && crossings[kind].type ? &crossings[kind] : NULL;
}

const etk_command_row *marshal_row(const etk_project *project, const char *name) {
  for (uint32_t i = 0; i < project->command_count; i++) {
    const etk_command_row *row = (const etk_command_row *)((const char *)project->commands + (size_t)i * project->command_stride);
    if (etk_text_equal_name(row->name, name)) return row;
  }
  return NULL;
}

static const etk_option_row *option_row(const etk_project *project, const etk_command_row *row, size_t index) {
  return (const etk_option_row *)((const char *)row->options + index * project->option_stride);
}

static const etk_value *option_value(const struct resolved *resolved, const char *name, uint32_t kind) {
  for (size_t i = 0; i < resolved->command->option_count; i++)
    if (!strcmp(resolved->command->options[i].name, name) && resolved->command->options[i].kind == kind) return &resolved->options[i];
  return NULL;
}

/* Writes one value where `to` says; unset values are zero already. */
static void put(void *to, const struct crossing *crossing, uint32_t kind, const etk_value *value) {
  if (kind == ETK_KIND_flag) {
    bool flag = value->integer != 0;
    memcpy(to, &flag, sizeof flag);
  } else memcpy(to, (const char *)value + crossing->offset, crossing->size);
}

static etk_status fill_options(etk_error *e, unsigned char *options, size_t size, const etk_project *project, const etk_command_row *row,
                               const struct resolved *resolved) {
  uint32_t struct_size = (uint32_t)size;
  memcpy(options, &struct_size, sizeof struct_size);
  for (uint32_t i = 0; i < row->option_count; i++) {
    const etk_option_row *option = option_row(project, row, i);
    const struct crossing *crossing = crossing_of(option->kind);
    if (!crossing || option->size != crossing->size || option->offset < 8 || (size_t)option->offset + option->size > size)
      return etk_fail(e, ETK_E_FORMAT,
                      "the plugin's row of option %s (kind %u, %u bytes at %u of %zu) is not one that this host can fill; it must be built again",
                      option->name, (unsigned)option->kind, (unsigned)option->size, (unsigned)option->offset, size);
    const etk_value *value = option_value(resolved, option->name, option->kind);
    if (!value)
      return etk_fail(e, ETK_E_FORMAT, "the plugin's table has an option %s that its note does not have; it must be built again", option->name);
    if (value->source != ETK_FROM_UNSET) put(options + option->offset, crossing, option->kind, value);
  }
  return ETK_OK;
}

struct call {
  ffi_type **types;
  void **values;
  etk_value *arguments; /* copies, so that unset ones are zero */
  bool *flags;
};

static etk_status prepare(etk_error *e, struct call *call, etk_arena *arena, const struct resolved *resolved) {
  size_t count = resolved->command->argument_count;
  call->types = etk_arena_array(arena, count + 2, sizeof *call->types);
  call->values = etk_arena_array(arena, count + 2, sizeof *call->values);
  call->arguments = etk_arena_array(arena, count + 1, sizeof *call->arguments);
  call->flags = etk_arena_array(arena, count + 1, sizeof *call->flags);
  if (!call->types || !call->values || !call->arguments || !call->flags)
    return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while calling the command");
  for (size_t i = 0; i < count; i++) {
    uint32_t kind = argument_kind(&resolved->command->arguments[i]);
    const struct crossing *crossing = crossing_of(kind);
    if (!crossing)
      return etk_fail(e, ETK_E_FORMAT, "argument %s has a kind (%u) that this host does not know", resolved->command->arguments[i].name,
                      (unsigned)kind);
    if (resolved->arguments[i].source != ETK_FROM_UNSET) call->arguments[i] = resolved->arguments[i];
    call->flags[i] = call->arguments[i].integer != 0;
    call->types[i + 1] = crossing->type;
    call->values[i + 1] = kind == ETK_KIND_flag ? (void *)&call->flags[i] : (void *)((char *)&call->arguments[i] + crossing->offset);
  }
  return ETK_OK;
}

static etk_status check_arguments(etk_error *e, const etk_project *project, const etk_command_row *row, const struct resolved *resolved) {
  if (row->argument_count != resolved->command->argument_count)
    return etk_fail(e, ETK_E_FORMAT, "the plugin's table gives %s %u arguments, its note %zu; it must be built again", row->name,
                    (unsigned)row->argument_count, resolved->command->argument_count);
  for (uint32_t i = 0; i < row->argument_count; i++) {
    const etk_argument_row *argument = (const etk_argument_row *)((const char *)row->arguments + (size_t)i * project->argument_stride);
    const struct manifest_argument *known = &resolved->command->arguments[i];
    if (argument->kind != known->kind || argument->need != known->need || strcmp(argument->name, known->name))
      return etk_fail(e, ETK_E_FORMAT, "argument %u of %s is %s in the plugin's table and %s in its note; it must be built again", (unsigned)i + 1,
                      row->name, argument->name, known->name);
  }
  return ETK_OK;
}

etk_status marshal_call(etk_error *e, etk_status *returned, etk_run *run, const etk_project *project, const etk_command_row *row,
                        const struct resolved *resolved) {
  etk_arena arena = ETK_ARENA_INIT;
  struct call call;
  size_t size = row->options_size < 8 ? 8 : row->options_size, count = resolved->command->argument_count + 2;
  unsigned char *options = etk_calloc(1, size);
  etk_status status = check_arguments(e, project, row, resolved);
  if (!status && !options) status = etk_fail(e, ETK_E_NO_MEMORY, "out of memory: %zu bytes for the options", size);
  if (!status) status = fill_options(e, options, size, project, row, resolved);
  if (!status) status = prepare(e, &call, &arena, resolved);
  if (!status) {
    ffi_cif cif;
    ffi_arg result = 0;
    const void *options_pointer = options;
    list_elements[1] = map_elements[2] = size_type();
    call.types[0] = call.types[count - 1] = &ffi_type_pointer;
    call.values[0] = &run;
    call.values[count - 1] = &options_pointer;
    if (ffi_prep_cif(&cif, FFI_DEFAULT_ABI, (unsigned)count, &ffi_type_sint, call.types) != FFI_OK)
      status = etk_fail(e, ETK_E_INTERNAL, "libffi cannot call %s with %zu arguments", row->name, count);
    else {
      ffi_call(&cif, row->run, &result, call.values);
      *returned = (etk_status)(ffi_sarg)result;
    }
  }
  etk_arena_fini(&arena);
  etk_free(options);
  return status;
}

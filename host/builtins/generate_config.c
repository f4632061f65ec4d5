/* generate-config: a configuration file with comments, or its JSON Schema, from the tables of options. */
#include "builtin.h"
#include "report.h"
#include "values.h"

#include <etk/fs.h>

#define GENERATE_CONFIG_ARGS(ARG) ARG(text, name, OPTIONAL, "1..", "NAMESPACE or NAMESPACE:COMMAND; without it, your own configuration file for all projects")
#define GENERATE_CONFIG_OPTIONS(OPT)                                                                                                \
  OPT(choice, format, "yaml", "yaml|toml|json", "", "", ETK_LOCAL, "how it is written; default: by the end of --output, else yaml") \
  OPT(path, output, "-", "new", "", "o", ETK_LOCAL, "file to write instead of standard output")                                     \
  OPT(flag, all, "no", "", "", "a", ETK_LOCAL, "advanced options are not commented out; without a name: every option of every project") \
  OPT(flag, schema, "no", "", "", "", ETK_LOCAL, "the JSON Schema of the file, for editors")                                        \
  OPT(flag, force, "no", "", "", "f", ETK_LOCAL, "replace an existing --output file")
#define COMMANDS(CMD) CMD(generate_config, GENERATE_CONFIG_ARGS, GENERATE_CONFIG_OPTIONS, 0, "Write a configuration file, or its JSON Schema")
BUILTIN(generate_config, "Write a configuration file, or its JSON Schema", COMMANDS)

static etk_status no_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "out of memory while writing a configuration"); }

/* ---- one project ---- */

/* The command, or all that are not hidden. */
static etk_status table_of(etk_error *e, etk_option_table *out, struct host *host, const struct manifest *manifest, const struct manifest_command *one) {
  const struct manifest_command **commands = etk_arena_array(&host->arena, manifest->command_count + 1, sizeof *commands);
  size_t count = 0;
  if (!commands) return no_memory(e);
  for (size_t i = 0; i < manifest->command_count; i++)
    if (one ? &manifest->commands[i] == one : !(manifest->commands[i].flags & ETK_HIDDEN)) commands[count++] = &manifest->commands[i];
  return option_table(e, out, &host->arena, manifest, commands, count);
}

/* ---- all projects ---- */

/* One table with the groups "<namespace>.<group>", and the manifests that its rows borrow from. */
struct projects {
  struct manifest *manifests;
  size_t count;
  etk_option_row *rows;
  uint32_t row_count;
};

static void projects_fini(struct projects *p) {
  for (size_t i = 0; i < p->count; i++) manifest_fini(&p->manifests[i]);
  etk_free(p->manifests);
}

enum pick { PICK_ALL, PICK_QUIET, PICK_EXAMPLE }; /* every row; every row commented out; one row commented out */

static etk_status add_project(etk_error *e, struct projects *p, struct host *host, const struct manifest *manifest, enum pick pick) {
  etk_option_table table;
  etk_status status = table_of(e, &table, host, manifest, NULL);
  if (status) return status;
  etk_option_row *grown = etk_arena_array(&host->arena, p->row_count + table.count + 1, sizeof *grown);
  if (!grown) return no_memory(e);
  if (p->row_count) memcpy(grown, p->rows, p->row_count * sizeof *grown);
  p->rows = grown;
  bool shown = false;
  for (uint32_t i = 0; i < table.count; i++) {
    etk_option_row row = table.rows[i];
    bool example = !shown && !(row.flags & (ETK_HIDDEN | ETK_ADVANCED | ETK_LOCAL)) && strcmp(row.default_text, "-");
    if (pick == PICK_EXAMPLE && !example && (shown || i + 1 < table.count)) continue;
    shown = true;
    row.group = etk_arena_printf(&host->arena, "%s%s%s", manifest->name_space, *row.group ? "." : "", row.group);
    if (!row.group) return no_memory(e);
    if (pick != PICK_ALL) row.flags |= ETK_ADVANCED;
    grown[p->row_count++] = row;
  }
  return ETK_OK;
}

/* Projects whose notes can be read; the others are said and left out. */
static etk_status projects_init(etk_error *e, struct projects *out, struct host *host, enum pick pick) {
  struct plugin_list list = {0};
  *out = (struct projects){0};
  etk_status status = discover_all(e, &list, &host->path);
  if (!status && !(out->manifests = etk_calloc(list.count + 1, sizeof *out->manifests))) status = no_memory(e);
  for (size_t i = 0; !status && i < list.count; i++) {
    struct manifest *manifest = &out->manifests[out->count];
    etk_error why = ETK_ERROR_INIT;
    if (list.items[i].shadowed) continue;
    if (plugin_manifest(&why, manifest, &host->path, &list.items[i])) {
      host_warn(host, "%s: left out: %s", list.items[i].name_space, why.message);
      continue;
    }
    out->count++;
    status = add_project(e, out, host, manifest, pick);
  }
  plugin_list_free(&list);
  if (status) projects_fini(out);
  return status;
}

static etk_option_table table_of_all(const struct projects *p, const char *summary) {
  return (etk_option_table){.name = "efficientai-toolkit", .summary = summary, .rows = p->rows, .count = p->row_count};
}

etk_status config_skeleton(etk_error *e, etk_text *out, struct host *host, etk_config_format format, bool all) {
  struct projects projects;
  etk_status status = projects_init(e, &projects, host, all ? PICK_QUIET : PICK_EXAMPLE);
  if (status) return status;
  etk_text text = ETK_TEXT_INIT;
  etk_text_puts(&text, "your own defaults for the commands of all projects\n"
                       "They win over the projects' defaults; profiles, --config, EFFICIENTAI__… variables and options win over them.\n"
                       "Each project has a section with its groups of options; 'efficientai-toolkit generate-config NAMESPACE' writes one with every key. "
                       "What 'profiles.NAME' holds counts under --profile NAME.");
  for (size_t i = 0; i < projects.count; i++) etk_text_printf(&text, "\n- %s: %s", projects.manifests[i].name_space, projects.manifests[i].summary);
  const char *summary = text.failed ? NULL : table_text(&host->arena, text.data);
  if (!summary) status = no_memory(e);
  else {
    etk_option_table table = table_of_all(&projects, summary);
    status = etk_options_template(e, out, &table, format, false);
  }
  etk_text_free(&text);
  projects_fini(&projects);
  return status;
}

/* ---- schema ---- */

/* The schema of a table, with `profiles`, which may hold all that the file may. */
static etk_status put_schema(etk_error *e, etk_text *out, const etk_option_table *table) {
  etk_text text = ETK_TEXT_INIT;
  etk_config *tree = NULL;
  static const char *const facts[][2] = {{"properties.profiles.description", "\"what counts under --profile NAME, for each NAME\""},
                                         {"properties.profiles.type", "object"},
                                         {"properties.profiles.additionalProperties.$ref", "\"#\""}};
  etk_status status = etk_options_schema(e, &text, table, NULL);
  if (!status) status = etk_config_parse(e, &tree, table->name, text.data, text.size, ETK_CONFIG_JSON);
  for (size_t i = 0; !status && i < sizeof facts / sizeof facts[0]; i++) status = etk_config_set(e, tree, facts[i][0], facts[i][1], NULL);
  if (!status) {
    etk_config_write_json(out, etk_config_root(tree), 2);
    etk_text_putc(out, '\n');
    if (out->failed) status = no_memory(e);
  }
  etk_config_free(tree);
  etk_text_free(&text);
  return status;
}

static etk_status put_all(etk_error *e, etk_text *out, struct host *host, etk_config_format format, const struct generate_config_options *o) {
  if (!o->schema) return config_skeleton(e, out, host, format, o->all);
  struct projects projects;
  etk_status status = projects_init(e, &projects, host, PICK_ALL);
  if (status) return status;
  etk_option_table table = table_of_all(&projects, "the configuration file of a user, for the commands of all projects");
  status = put_schema(e, out, &table);
  projects_fini(&projects);
  return status;
}

static etk_status put_one(etk_error *e, etk_text *out, struct host *host, const struct manifest *manifest, const struct manifest_command *command,
                          etk_config_format format, const struct generate_config_options *o) {
  etk_option_table table;
  char shown[64];
  etk_status status = table_of(e, &table, host, manifest, command);
  if (status) return status;
  if (o->schema) return put_schema(e, out, &table);
  table.summary = etk_arena_printf(&host->arena, "%s\\nuse: efficientai-toolkit %s:%s --config FILE", table.summary, manifest->name_space,
                                   command ? shown_name(shown, sizeof shown, command->name) : "COMMAND");
  return table.summary ? etk_options_template(e, out, &table, format, o->all) : no_memory(e);
}

/* ---- the command ---- */

static const char *const formats[] = {"yaml", "toml", "json"};

static etk_status choose_format(etk_error *e, etk_config_format *out, const struct host *host, const struct generate_config_options *o) {
  static const etk_config_format values[] = {ETK_CONFIG_YAML, ETK_CONFIG_TOML, ETK_CONFIG_JSON};
  const char *format = o->format, *dot = o->output ? strrchr(etk_path_base(o->output), '.') : NULL;
  bool given = builtin_given(host, "format");
  if (o->force && !o->output) return etk_fail(e, ETK_E_USAGE, "--force replaces the file of --output, which was not given");
  if (o->schema && (o->all || (given && strcmp(format, "json"))))
    return etk_fail(e, ETK_E_USAGE, "%s: a schema is JSON and knows every option", o->all ? "--all" : "--format");
  const char *end = !o->schema && dot ? strcmp(dot + 1, "yml") ? dot + 1 : "yaml" : "";
  for (size_t i = 0; i < 3; i++) {
    if (strcmp(end, formats[i])) continue;
    if (given && strcmp(format, end)) return etk_fail(e, ETK_E_USAGE, "--format %s: '%s' would be read as %s", format, o->output, end);
    format = formats[i];
  }
  for (size_t i = 0; i < 3; i++)
    if (!strcmp(format, formats[i])) *out = o->schema ? ETK_CONFIG_JSON : values[i];
  return ETK_OK;
}

static int answer(struct host *host, const etk_text *text, etk_config_format format, const struct generate_config_options *o) {
  etk_error e = ETK_ERROR_INIT;
  if (o->output && etk_fs_write(&e, o->output, text->data, text->size, o->force))
    return host_error(host, &e, 0, e.status == ETK_E_EXISTS ? "--force replaces it\n" : NULL);
  if (host->json) {
    etk_text results = ETK_TEXT_INIT;
    etk_text_printf(&results, "{\"format\":\"%s\",\"path\":", o->schema ? "json-schema" : formats[format == ETK_CONFIG_YAML ? 0 : format == ETK_CONFIG_TOML ? 1 : 2]);
    put_json(&results, o->output);
    etk_text_puts(&results, ",\"text\":");
    put_json(&results, text->data);
    etk_text_putc(&results, '}');
    host_print_document(host, "generate-config", "ok", results.failed ? NULL : results.data, NULL);
    etk_text_free(&results);
    return 0;
  }
  if (!o->output) fwrite(text->data, 1, text->size, stdout);
  else if (o->schema) host_note(host, "wrote %s; an editor uses it where a YAML file begins with: # yaml-language-server: $schema=%s", o->output, o->output);
  else host_note(host, "wrote %s", o->output);
  return 0;
}

static int generate_config_run(struct host *host, const char *name, const struct generate_config_options *o) {
  etk_error e = ETK_ERROR_INIT;
  etk_text text = ETK_TEXT_INIT;
  etk_config_format format = ETK_CONFIG_YAML;
  if (choose_format(&e, &format, host, o)) return host_error(host, &e, 0, NULL);
  int code = 0;
  if (name) {
    struct plugin plugin;
    struct manifest manifest;
    const char *colon = strchr(name, ':'), *space = colon ? etk_arena_strndup(&host->arena, name, (size_t)(colon - name)) : name;
    if (!space) {
      no_memory(&e);
      return host_error(host, &e, 0, NULL);
    }
    code = host_find(host, space, &plugin, &manifest);
    if (code) return code;
    const struct manifest_command *command = colon && colon[1] ? manifest_command(&manifest, colon + 1) : NULL;
    if (colon && !command) code = host_no_command(host, &manifest, colon + 1);
    else if (put_one(&e, &text, host, &manifest, command, format, o)) code = host_error(host, &e, 0, NULL);
    manifest_fini(&manifest);
  } else if (put_all(&e, &text, host, format, o)) code = host_error(host, &e, 0, NULL);
  if (!code) code = answer(host, &text, format, o);
  etk_text_free(&text);
  return code;
}

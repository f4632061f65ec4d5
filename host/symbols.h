/* symbols.h: what an ELF file offers to others and wants from them, by its section headers, without loading it. */
#ifndef SYMBOLS_H
#define SYMBOLS_H

#include <etk/alloc.h>
#include <etk/status.h>

struct symbols {
  etk_arena arena;
  const char **exported; /* defined and visible to others */
  size_t exported_count;
  const char **needed;   /* libraries, as written in the file */
  size_t needed_count;
  const char *run_path;  /* NULL: none */
};
/* ETK_E_UNSUPPORTED where the file is no ELF file of this machine's width or its section headers were stripped. */
etk_status symbols_read(etk_error *e, struct symbols *out, const char *path);
etk_status symbols_find(etk_error *e, struct symbols *out, const void *bytes, size_t size, const char *name);
void symbols_fini(struct symbols *symbols);

#endif

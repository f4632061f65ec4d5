/* stem.h: names by their ends. */
#ifndef ETK_ML_FORMAT_STEM_H
#define ETK_ML_FORMAT_STEM_H

#include <string.h>

/* How much of the name stands before `end`; 0 where it does not end so, or nothing stands before. */
static inline size_t etk__stem(const char *name, const char *end) {
  size_t size = strlen(name), tail = strlen(end);
  return size > tail && !strcmp(name + size - tail, end) ? size - tail : 0;
}

#endif

#include "values.h"

const char *source_name(int source) {
  static const char *const names[] = {"unset", "default", "profile", "config", "environment", "set", "command line"};
  return source >= 0 && (size_t)source < sizeof names / sizeof names[0] ? names[source] : "unset";
}

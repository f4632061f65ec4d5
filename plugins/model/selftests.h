/* selftests.h: the tests this project ships. */
#ifndef MODEL_SELFTESTS_H
#define MODEL_SELFTESTS_H

#include <etk/selftest.h>

extern const etk_selftest model_selftest;

#endif

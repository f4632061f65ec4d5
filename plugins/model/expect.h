/* expect.h: the tensors that an architecture calls for. */
#ifndef MODEL_EXPECT_H
#define MODEL_EXPECT_H

#include <etk/weights.h>

/* Is the architecture one whose names and shapes are known here, in an unquantized layout, with all of its sizes told? `why` says why not. */
bool expect_known(const etk_weights *weights, const char **why);
/* Calls `found` with the (canonical) name and what is wrong with it, for each tensor that is missing, of another shape, or none of the architecture's. */
void expect_check(const etk_weights *weights, void (*found)(void *user, const char *name, const char *problem), void *user);

#endif

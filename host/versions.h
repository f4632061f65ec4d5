/* versions.h: of the libraries this program uses, asked of them where they can tell. */
#ifndef VERSIONS_H
#define VERSIONS_H

const char *version_jansson(void);
const char *version_yaml(void); /* "unknown" where libyaml cannot be asked */
const char *version_ffi(void);  /* the name of its file, which ends in its version */

#endif

/* Included before everything (see COMMON in the Makefile): functions that write without knowing where to stop, or hide state, do not compile. */
#ifndef ETK_BANNED_H
#define ETK_BANNED_H
#include <alloca.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#undef strcpy
#undef strcat
#undef sprintf
#undef vsprintf
#undef strtok
#undef gets
#undef atoi
#undef alloca
#define strcpy(...) etk_banned_strcpy_use_etk_text
#define strcat(...) etk_banned_strcat_use_etk_text
#define sprintf(...) etk_banned_sprintf_use_snprintf
#define vsprintf(...) etk_banned_vsprintf_use_vsnprintf
#define strtok(...) etk_banned_strtok_use_strcspn
#define gets(...) etk_banned_gets_use_fgets
#define atoi(...) etk_banned_atoi_use_etk_parse_int
#define alloca(...) etk_banned_alloca_use_an_arena
#endif

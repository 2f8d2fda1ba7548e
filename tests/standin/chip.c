/* Which chip this is, and what has been planted to go wrong. Both come from the environment:

     STANDIN_SOC      910A, 910B3, 910_93, 310P, or any name after "Ascend"
     STANDIN_FAULT    operator:40    the 40th kernel launched through CANN answers 500002
                      collective:3   this rank stays away from its 3rd collective
                      device:200     from the 200th wait on, nothing of the device answers any more
                      memory:90      from the 90th allocation on, there is no more memory
                      overflow:3     the 3rd time the flag is read on a chip that saturates, it is up
     STANDIN_FAULT_RANK   strike only where RANK is this */
#include "standin.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const KINDS[FAULT_KINDS] = {"operator", "collective", "device", "memory", "overflow"};
static const bool LASTS[FAULT_KINDS] = {false, false, true, true, false};

/* Short names of classes, as one chip of each. */
static const char *const SHORT[][2] = {
    {"910A", "Ascend910A"}, {"910_93", "Ascend910_9391"}, {"310P", "Ascend310P3"}, {NULL, NULL}};

const char *aclrtGetSocName(void) {
  static char name[64];
  const char *said = getenv("STANDIN_SOC");
  if (said == NULL || *said == '\0') said = "910B3";
  for (int i = 0; SHORT[i][0] != NULL; i++)
    if (strcmp(said, SHORT[i][0]) == 0) return SHORT[i][1];
  snprintf(name, sizeof name, "%s%s", strncmp(said, "Ascend", 6) == 0 ? "" : "Ascend", said);
  return name;
}

/* First-generation 910 goes by two names that later chips only extend, and 310P is of its kind here. */
bool standin_has_bf16(void) {
  const char *name = aclrtGetSocName();
  return strncmp(name, "Ascend910_", 10) == 0 || (strncmp(name, "Ascend910B", 10) == 0 && name[10] != '\0');
}

bool standin_saturates(void) { return !standin_has_bf16(); }

static bool planted(enum fault kind, long *at) {
  const char *said = getenv("STANDIN_FAULT"), *where = getenv("STANDIN_FAULT_RANK"), *rank = getenv("RANK");
  size_t length = strlen(KINDS[kind]);
  if (said == NULL || strncmp(said, KINDS[kind], length) != 0 || said[length] != ':') return false;
  if (where != NULL && rank != NULL && strcmp(where, rank) != 0) return false;
  *at = atol(said + length + 1);
  return true;
}

bool standin_fails(enum fault kind) {
  static atomic_long counts[FAULT_KINDS];
  long at = 0, now = atomic_fetch_add(&counts[kind], 1) + 1;
  if (!planted(kind, &at)) return false;
  return LASTS[kind] ? now >= at : now == at;
}

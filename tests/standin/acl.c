/* libascendcl, devices' side: memory that is the host's, streams that have run already when they are asked. */
#define _GNU_SOURCE
#include "standin.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_DEVICES = 64, ALIGNMENT = 512 };

static __thread int current = -1;
static char contexts[MOST_DEVICES];

static long number(const char *name, long otherwise) {
  const char *said = getenv(name);
  return said != NULL && *said != '\0' ? atol(said) : otherwise;
}

/* Devices */

static int devices(void) {
  const char *visible = getenv("ASCEND_RT_VISIBLE_DEVICES");
  int there = (int)number("STANDIN_DEVICES", 8), shown = 1;
  if (visible == NULL) return there;
  if (*visible == '\0') return 0;
  for (; *visible != '\0'; visible++) shown += *visible == ',';
  return shown < there ? shown : there;
}

aclError aclInit(const char *settings) { return ACL_OK; }
aclError aclFinalize(void) { return ACL_OK; }

aclError aclrtGetDeviceCount(uint32_t *count) {
  *count = (uint32_t)devices();
  return ACL_OK;
}

aclError aclrtSetDevice(int32_t device) {
  if (device < 0 || device >= devices()) return ACL_BAD_DEVICE;
  current = device;
  return ACL_OK;
}

aclError aclrtResetDevice(int32_t device) { return ACL_OK; }

aclError aclrtGetDevice(int32_t *device) {
  if (current < 0) return ACL_NO_CONTEXT;
  *device = current;
  return ACL_OK;
}

aclError aclrtGetCurrentContext(aclrtContext *context) {
  if (current < 0) return ACL_NO_CONTEXT;
  *context = &contexts[current];
  return ACL_OK;
}

aclError aclrtSetCurrentContext(aclrtContext context) {
  if (context != NULL) current = (int)((char *)context - contexts);
  return ACL_OK;
}

aclError aclrtGetPrimaryCtxState(int32_t device, uint32_t *flags, int32_t *active) {
  if (flags != NULL) *flags = 0;
  *active = device == current;
  return ACL_OK;
}

aclError aclrtDeviceCanAccessPeer(int32_t *can, int32_t device, int32_t peer) {
  *can = 1;
  return ACL_OK;
}

aclError aclrtDeviceEnablePeerAccess(int32_t peer, uint32_t flags) { return ACL_OK; }

aclError aclrtDeviceGetBareTgid(int32_t *process) {
  *process = 0;
  return ACL_OK;
}

aclError aclGetDeviceCapability(uint32_t device, int what, int64_t *value) {
  *value = 0;
  return ACL_OK;
}

aclError aclrtGetDeviceUtilizationRate(int32_t device, void *rates) { return ACL_NOT_SUPPORTED; }

/* Memory: each device has STANDIN_MEMORY_MB, and no more. */

struct block {
  uint64_t size;
  int device;
};

static uint64_t used[MOST_DEVICES];
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;

static uint64_t capacity(void) { return (uint64_t)number("STANDIN_MEMORY_MB", 32768) << 20; }
static int here(void) { return current < 0 ? 0 : current; }
static struct block *block_of(void *place) { return (struct block *)((char *)place - ALIGNMENT); }

static bool take(int device, uint64_t size) {
  pthread_mutex_lock(&counting);
  bool fits = used[device] + size <= capacity();
  if (fits) used[device] += size;
  pthread_mutex_unlock(&counting);
  return fits;
}

static void give(int device, uint64_t size) {
  pthread_mutex_lock(&counting);
  used[device] -= size;
  pthread_mutex_unlock(&counting);
}

aclError aclrtMalloc(void **place, size_t size, int policy) {
  void *memory = NULL;
  *place = NULL;
  if (standin_fails(FAULT_MEMORY) || !take(here(), size)) return ACL_NO_MEMORY;
  if (posix_memalign(&memory, ALIGNMENT, size + ALIGNMENT) != 0) {
    give(here(), size);
    return ACL_NO_MEMORY;
  }
  *(struct block *)memory = (struct block){size, here()};
  *place = (char *)memory + ALIGNMENT;
  return ACL_OK;
}

aclError aclrtMallocAlign32(void **place, size_t size, int policy) { return aclrtMalloc(place, size, policy); }

aclError aclrtFree(void *place) {
  if (place == NULL) return ACL_OK;
  give(block_of(place)->device, block_of(place)->size);
  free(block_of(place));
  return ACL_OK;
}

aclError aclrtMallocHost(void **place, size_t size) {
  return posix_memalign(place, 64, size != 0 ? size : 1) != 0 ? ACL_NO_MEMORY : ACL_OK;
}

aclError aclrtFreeHost(void *place) {
  free(place);
  return ACL_OK;
}

aclError aclrtGetMemInfo(int kind, size_t *left, size_t *total) {
  *total = capacity();
  *left = capacity() - used[here()];
  return ACL_OK;
}

static atomic_bool lost; /* a lost device answers nothing any more */

aclError aclrtMemcpy(void *to, size_t room, const void *from, size_t size, int kind) {
  if (atomic_load(&lost)) return ACL_LOST_HEARTBEAT;
  if (size > room) return ACL_BAD_PARAMETER;
  memmove(to, from, size);
  return ACL_OK;
}

aclError aclrtMemcpyAsync(void *to, size_t room, const void *from, size_t size, int kind, aclrtStream stream) {
  return aclrtMemcpy(to, room, from, size, kind);
}

aclError aclrtMemset(void *to, size_t room, int32_t value, size_t size) {
  if (size > room) return ACL_BAD_PARAMETER;
  memset(to, value, size);
  return ACL_OK;
}

aclError aclrtMemsetAsync(void *to, size_t room, int32_t value, size_t size, aclrtStream stream) {
  return aclrtMemset(to, room, value, size);
}

/* Streams: what was given to one is done at once. */

static aclError wait_for_all(void) {
  if (standin_fails(FAULT_DEVICE)) atomic_store(&lost, true);
  return atomic_load(&lost) ? ACL_LOST_HEARTBEAT : ACL_OK;
}

aclError aclrtCreateStream(aclrtStream *stream) {
  static atomic_int made;
  int *number = malloc(sizeof *number);
  *number = atomic_fetch_add(&made, 1);
  *stream = number;
  return ACL_OK;
}

aclError aclrtCreateStreamWithConfig(aclrtStream *stream, uint32_t priority, uint32_t flags) {
  return aclrtCreateStream(stream);
}

aclError aclrtDestroyStream(aclrtStream stream) {
  free(stream);
  return ACL_OK;
}

aclError aclrtDestroyStreamForce(aclrtStream stream) { return aclrtDestroyStream(stream); }
aclError aclrtSynchronizeStream(aclrtStream stream) { return wait_for_all(); }
aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t limit) { return wait_for_all(); }
aclError aclrtSynchronizeDevice(void) { return wait_for_all(); }
aclError aclrtSynchronizeDeviceWithTimeout(int32_t limit) { return wait_for_all(); }

aclError aclrtStreamQuery(aclrtStream stream, int *status) {
  *status = 0; /* complete */
  return ACL_OK;
}

aclError aclrtStreamGetId(aclrtStream stream, int32_t *id) {
  *id = stream != NULL ? *(int *)stream : 0;
  return ACL_OK;
}

aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event) { return ACL_OK; }

/* Events know when they were recorded. */

aclError aclrtCreateEventExWithFlag(aclrtEvent *event, uint32_t flag) {
  *event = calloc(1, sizeof(struct timespec));
  return ACL_OK;
}

aclError aclrtCreateEventWithFlag(aclrtEvent *event, uint32_t flag) { return aclrtCreateEventExWithFlag(event, flag); }

aclError aclrtDestroyEvent(aclrtEvent event) {
  free(event);
  return ACL_OK;
}

aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream) {
  clock_gettime(CLOCK_MONOTONIC, event);
  return ACL_OK;
}

aclError aclrtResetEvent(aclrtEvent event, aclrtStream stream) { return ACL_OK; }
aclError aclrtSynchronizeEvent(aclrtEvent event) { return wait_for_all(); }

aclError aclrtQueryEventStatus(aclrtEvent event, int *status) {
  *status = 1; /* recorded, and complete */
  return ACL_OK;
}

aclError aclrtQueryEventWaitStatus(aclrtEvent event, int *status) {
  *status = 0; /* complete */
  return ACL_OK;
}

aclError aclrtEventElapsedTime(float *ms, aclrtEvent first, aclrtEvent second) {
  const struct timespec *a = first, *b = second;
  *ms = (float)(b->tv_sec - a->tv_sec) * 1e3f + (float)(b->tv_nsec - a->tv_nsec) / 1e6f;
  return ACL_OK;
}

aclError aclrtProcessReport(int32_t limit) {
  nanosleep(&(struct timespec){0, 50000000}, NULL);
  return ACL_OK;
}

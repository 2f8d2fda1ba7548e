/* libascendcl, operators' side: torch_npu launches a few by name inside its own C++ (around collectives, and to read
   the overflow flag). These few are here; any other answers 500002 and says its name, so that none is missed. */
#include "standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DIMENSIONS = 16 };

typedef struct {
  int type, dimensions;
  int64_t size[MOST_DIMENSIONS];
} aclTensorDesc;

typedef struct {
  void *data;
  size_t size;
} aclDataBuffer;

typedef struct {
  char unused;
} aclopAttr;

/* Descriptions of tensors */

aclTensorDesc *aclCreateTensorDesc(int type, int dimensions, const int64_t *size, int format) {
  aclTensorDesc *made = calloc(1, sizeof *made);
  made->type = type;
  made->dimensions = dimensions < MOST_DIMENSIONS ? dimensions : MOST_DIMENSIONS;
  for (int i = 0; i < made->dimensions; i++) made->size[i] = size[i];
  return made;
}

void aclDestroyTensorDesc(const aclTensorDesc *tensor) { free((void *)tensor); }
int aclGetTensorDescType(const aclTensorDesc *tensor) { return tensor->type; }
int aclGetTensorDescFormat(const aclTensorDesc *tensor) { return 2; /* ND */ }
size_t aclGetTensorDescNumDims(const aclTensorDesc *tensor) { return (size_t)tensor->dimensions; }

aclError aclGetTensorDescDimV2(const aclTensorDesc *tensor, size_t index, int64_t *size) {
  if (index >= (size_t)tensor->dimensions) return ACL_BAD_PARAMETER;
  *size = tensor->size[index];
  return ACL_OK;
}

void aclSetTensorDescName(aclTensorDesc *tensor, const char *name) {}
aclError aclSetTensorFormat(aclTensorDesc *tensor, int format) { return ACL_OK; }
aclError aclSetTensorPlaceMent(aclTensorDesc *tensor, int where) { return ACL_OK; }
aclError aclSetTensorShape(aclTensorDesc *tensor, int dimensions, const int64_t *size) { return ACL_OK; }

aclDataBuffer *aclCreateDataBuffer(void *data, size_t size) {
  aclDataBuffer *made = malloc(sizeof *made);
  *made = (aclDataBuffer){data, size};
  return made;
}

aclError aclDestroyDataBuffer(const aclDataBuffer *buffer) {
  free((void *)buffer);
  return ACL_OK;
}

size_t aclDataTypeSize(int type) {
  static const unsigned char SIZES[] = {
      [ACL_FLOAT] = 4,  [ACL_FLOAT16] = 2, [ACL_INT8] = 1,   [ACL_INT32] = 4,  [ACL_UINT8] = 1,
      [ACL_INT16] = 2,  [ACL_UINT16] = 2,  [ACL_UINT32] = 4, [ACL_INT64] = 8,  [ACL_UINT64] = 8,
      [ACL_DOUBLE] = 8, [ACL_BOOL] = 1,    [ACL_BF16] = 2,
  };
  return type >= 0 && (size_t)type < sizeof SIZES ? SIZES[type] : 0;
}

static int64_t elements(const aclTensorDesc *tensor) {
  int64_t count = 1;
  for (int i = 0; i < tensor->dimensions; i++) count *= tensor->size[i];
  return count;
}

/* The operators: inputs and outputs are described by one array and held by another */

struct call {
  const aclTensorDesc *const *in, *const *out;
  const aclDataBuffer *const *in_data;
  aclDataBuffer *const *out_data;
  int ins, outs;
};

static int overflow;
void standin_raise_overflow(void) { overflow = 1; }

static bool get_status(const struct call *c) {
  if (standin_fails(FAULT_OVERFLOW)) overflow = 1;
  memset(c->out_data[0]->data, 0, c->out_data[0]->size);
  if (c->ins > 0) *(float *)c->in_data[0]->data = (float)overflow;
  *(float *)c->out_data[0]->data = (float)overflow;
  return true;
}

static bool clear_status(const struct call *c) {
  overflow = 0;
  for (int i = 0; i < c->outs; i++) memset(c->out_data[i]->data, 0, c->out_data[i]->size);
  return true;
}

static bool fill(const struct call *c) {
  size_t width = aclDataTypeSize(c->out[0]->type), count = (size_t)elements(c->out[0]);
  if (c->ins != 2 || width == 0 || count * width > c->out_data[0]->size) return false;
  for (size_t i = 0; i < count; i++) memcpy((char *)c->out_data[0]->data + i * width, c->in_data[1]->data, width);
  return true;
}

static bool zeros_like(const struct call *c) {
  memset(c->out_data[0]->data, 0, c->out_data[0]->size);
  return true;
}

/* Zeros after the rows of the last dimension, before ranks of unequal sizes are gathered. */
static bool pad(const struct call *c) {
  const aclTensorDesc *from = c->in[0], *to = c->out[0];
  int last = from->dimensions - 1;
  if (last < 0 || to->dimensions != from->dimensions || to->size[last] < from->size[last]) return false;
  size_t width = aclDataTypeSize(from->type), narrow = (size_t)from->size[last] * width;
  size_t wide = (size_t)to->size[last] * width, rows = 1;
  for (int i = 0; i < last; i++) {
    if (from->size[i] != to->size[i]) return false;
    rows *= (size_t)from->size[i];
  }
  memset(c->out_data[0]->data, 0, rows * wide);
  for (size_t r = 0; r < rows; r++)
    memcpy((char *)c->out_data[0]->data + r * wide, (char *)c->in_data[0]->data + r * narrow, narrow);
  return true;
}

static bool read_number(int type, const void *data, int64_t i, double *value) {
  switch (type) {
    case ACL_BOOL:
    case ACL_UINT8: *value = ((const uint8_t *)data)[i]; return true;
    case ACL_INT8: *value = ((const int8_t *)data)[i]; return true;
    case ACL_INT32: *value = ((const int32_t *)data)[i]; return true;
    case ACL_INT64: *value = (double)((const int64_t *)data)[i]; return true;
    case ACL_FLOAT: *value = ((const float *)data)[i]; return true;
    case ACL_FLOAT16: *value = (double)((const _Float16 *)data)[i]; return true;
    default: return false;
  }
}

static bool write_number(int type, void *data, int64_t i, double value) {
  switch (type) {
    case ACL_BOOL: ((uint8_t *)data)[i] = value != 0; return true;
    case ACL_UINT8: ((uint8_t *)data)[i] = (uint8_t)value; return true;
    case ACL_INT8: ((int8_t *)data)[i] = (int8_t)value; return true;
    case ACL_INT32: ((int32_t *)data)[i] = (int32_t)value; return true;
    case ACL_INT64: ((int64_t *)data)[i] = (int64_t)value; return true;
    case ACL_FLOAT: ((float *)data)[i] = (float)value; return true;
    case ACL_FLOAT16: ((_Float16 *)data)[i] = (_Float16)value; return true;
    default: return false;
  }
}

static bool cast(const struct call *c) {
  double value = 0;
  for (int64_t i = 0; i < elements(c->in[0]); i++)
    if (!read_number(c->in[0]->type, c->in_data[0]->data, i, &value) ||
        !write_number(c->out[0]->type, c->out_data[0]->data, i, value))
      return false;
  return true;
}

static const struct {
  const char *name;
  bool (*run)(const struct call *);
} OPERATORS[] = {
    {"NPUGetFloatStatus", get_status}, {"NPUClearFloatStatus", clear_status},
    {"NPUGetFloatStatusV2", get_status}, {"NPUClearFloatStatusV2", clear_status},
    {"Fill", fill}, {"ZerosLike", zeros_like}, {"PadV3", pad}, {"Cast", cast},
};

aclError aclopCompileAndExecute(const char *name, int ins, const aclTensorDesc *const in[],
                                const aclDataBuffer *const in_data[], int outs, const aclTensorDesc *const out[],
                                aclDataBuffer *const out_data[], const aclopAttr *attributes, int engine, int compile,
                                const char *path, aclrtStream stream) {
  struct call call = {in, out, in_data, out_data, ins, outs};
  if (standin_fails(FAULT_OPERATOR)) return ACL_KERNEL_FAILED;
  for (size_t i = 0; i < sizeof OPERATORS / sizeof *OPERATORS; i++)
    if (strcmp(OPERATORS[i].name, name) == 0 && outs > 0 && OPERATORS[i].run(&call)) return ACL_OK;
  fprintf(stderr, "stand-in: no operator %s for these arguments\n", name);
  return ACL_KERNEL_FAILED;
}

aclError aclrtGetOverflowStatus(void *status, size_t size, aclrtStream stream) {
  memset(status, 0, size);
  *(uint64_t *)status = (uint64_t)overflow;
  return ACL_OK;
}

aclError aclrtResetOverflowStatus(aclrtStream stream) {
  overflow = 0;
  return ACL_OK;
}

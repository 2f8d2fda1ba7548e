/* What the parts of the stand-in share. The prototypes are our own: names, argument order and numbers are the
   published interface of CANN; nothing of its headers is used. */
#ifndef STANDIN_H
#define STANDIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int aclError;
typedef void *aclrtStream;
typedef void *aclrtEvent;
typedef void *aclrtContext;

enum {
  ACL_OK = 0,
  ACL_BAD_PARAMETER = 107000,
  ACL_BAD_DEVICE = 107001,
  ACL_NO_CONTEXT = 107002,
  ACL_NOT_SUPPORTED = 207000,
  ACL_NO_MEMORY = 207001,
  ACL_KERNEL_FAILED = 500002,
  ACL_LOST_HEARTBEAT = 507010,
};

/* Numbers of aclDataType. */
enum {
  ACL_FLOAT = 0,
  ACL_FLOAT16 = 1,
  ACL_INT8 = 2,
  ACL_INT32 = 3,
  ACL_UINT8 = 4,
  ACL_INT16 = 6,
  ACL_UINT16 = 7,
  ACL_UINT32 = 8,
  ACL_INT64 = 9,
  ACL_UINT64 = 10,
  ACL_DOUBLE = 11,
  ACL_BOOL = 12,
  ACL_BF16 = 27,
};

/* What faults can be planted: STANDIN_FAULT=KIND:N makes the N-th use of a kind fail in this process. */
enum fault { FAULT_OPERATOR, FAULT_COLLECTIVE, FAULT_DEVICE, FAULT_MEMORY, FAULT_OVERFLOW, FAULT_KINDS };

#ifdef __cplusplus
extern "C" {
#endif

/* Whether the chip clamps a float16 overflow and raises a flag, instead of writing Inf. */
bool standin_saturates(void);
/* Whether the chip knows bfloat16. */
bool standin_has_bf16(void);
/* Counts one use of a kind; whether a planted fault strikes now. A lost device stays lost, memory stays short. */
bool standin_fails(enum fault kind);
/* The sticky flag of a chip that saturates. */
void standin_raise_overflow(void);

size_t aclDataTypeSize(int type);
const char *aclrtGetSocName(void);

#ifdef __cplusplus
}
#endif
#endif

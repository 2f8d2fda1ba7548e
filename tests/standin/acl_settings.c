/* libascendcl, the rest: settings that are kept or taken without effect, and what the stand-in does not have. */
#include "standin.h"

#include <stdlib.h>

/* Kept */

static int64_t options[64];

aclError aclrtGetSysParamOpt(int option, int64_t *value) {
  *value = options[option & 63];
  return ACL_OK;
}

aclError aclrtSetSysParamOpt(int option, int64_t value) {
  options[option & 63] = value;
  return ACL_OK;
}

aclError aclrtCtxGetSysParamOpt(int option, int64_t *value) { return aclrtGetSysParamOpt(option, value); }
aclError aclrtCtxSetSysParamOpt(int option, int64_t value) { return aclrtSetSysParamOpt(option, value); }

aclError aclrtGetStreamOverflowSwitch(aclrtStream stream, uint32_t *flag) {
  *flag = 0;
  return ACL_OK;
}

void *aclopCreateAttr(void) { return malloc(1); }
void aclopDestroyAttr(const void *attributes) { free((void *)attributes); }
const char *aclGetRecentErrMsg(void) { return ""; }

/* Taken: functions of many arguments whose answer is only that all is well. C finds them by name alone. */

#define TAKES(name) \
  long name(void) { return ACL_OK; }

TAKES(aclAppLog)
TAKES(aclSetCompileopt)
TAKES(aclmdlFinalizeDump)
TAKES(aclmdlInitDump)
TAKES(aclmdlSetDump)
TAKES(aclopSetAttrBool)
TAKES(aclopSetAttrDataType)
TAKES(aclopSetAttrFloat)
TAKES(aclopSetAttrInt)
TAKES(aclopSetAttrListBool)
TAKES(aclopSetAttrListFloat)
TAKES(aclopSetAttrListInt)
TAKES(aclopSetAttrListListInt)
TAKES(aclopSetAttrString)
TAKES(aclrtGetLastError)
TAKES(aclrtPeekAtLastError)
TAKES(aclrtSetDeviceSatMode)
TAKES(aclrtSetOpExecuteTimeOut)
TAKES(aclrtSetOpWaitTimeout)
TAKES(aclrtSetStreamOverflowSwitch)
TAKES(MsprofGetHashId)
TAKES(MsprofRegisterCallback)
TAKES(MsprofReportAdditionalInfo)
TAKES(MsprofReportApi)
TAKES(MsprofReportCompactInfo)
TAKES(MsprofSysCycleTime)

/* Not here: memory mapped by hand or shared between processes, and kernels loaded from files. */

#define HAS_NOT(name) \
  long name(void) { return ACL_NOT_SUPPORTED; }

HAS_NOT(aclrtBinaryGetFunction)
HAS_NOT(aclrtBinaryLoadFromData)
HAS_NOT(aclrtFreePhysical)
HAS_NOT(aclrtGetFunctionAddr)
HAS_NOT(aclrtMallocPhysical)
HAS_NOT(aclrtMapMem)
HAS_NOT(aclrtMemExportToShareableHandle)
HAS_NOT(aclrtMemImportFromShareableHandle)
HAS_NOT(aclrtMemSetPidToShareableHandle)
HAS_NOT(aclrtReleaseMemAddress)
HAS_NOT(aclrtReserveMemAddress)
HAS_NOT(aclrtUnmapMem)
HAS_NOT(rtDevBinaryRegister)
HAS_NOT(rtFunctionRegister)
HAS_NOT(rtGetC2cCtrlAddr)
HAS_NOT(rtKernelLaunch)

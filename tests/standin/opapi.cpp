// libopapi: the aclnn functions which torch_npu's C++ calls past the dispatcher on the later chips, by ATen.
//
// Each is a pair: aclnnXGetWorkspaceSize takes the arguments and leaves a plan, aclnnX carries it out.
#include <ATen/ATen.h>

#include <cstdio>
#include <functional>
#include <vector>

#include "standin.h"

struct aclTensor { at::Tensor value; };
struct aclScalar { at::Scalar value; };
struct aclIntArray { std::vector<int64_t> value; };
struct aclFloatArray { std::vector<float> value; };
struct aclBoolArray { std::vector<bool> value; };
struct aclTensorList { std::vector<const aclTensor*> value; };
struct aclScalarList { std::vector<const aclScalar*> value; };
struct aclOpExecutor { std::function<void()> plan; };

namespace {

constexpr int FAILED = 561103;  // an inner error of aclnn

at::ScalarType type_of(int type) {
  switch (type) {
    case ACL_FLOAT16: return at::kHalf;
    case ACL_BF16: return at::kBFloat16;
    case ACL_INT8: return at::kChar;
    case ACL_UINT8: return at::kByte;
    case ACL_INT16: return at::kShort;
    case ACL_INT32: return at::kInt;
    case ACL_INT64: return at::kLong;
    case ACL_BOOL: return at::kBool;
    case ACL_DOUBLE: return at::kDouble;
    default: return at::kFloat;
  }
}

at::Scalar scalar_of(const void* data, int type) {
  switch (type) {
    case ACL_DOUBLE: return *static_cast<const double*>(data);
    case ACL_INT64: return *static_cast<const int64_t*>(data);
    case ACL_INT32: return *static_cast<const int32_t*>(data);
    case ACL_BOOL: return *static_cast<const bool*>(data);
    case ACL_FLOAT16: return static_cast<float>(*static_cast<const at::Half*>(data));
    case ACL_BF16: return static_cast<float>(*static_cast<const at::BFloat16*>(data));
    default: return *static_cast<const float*>(data);
  }
}

int plan(uint64_t* workspace, aclOpExecutor** executor, std::function<void()> work) {
  *workspace = 0;
  *executor = new aclOpExecutor{std::move(work)};
  return ACL_OK;
}

int carry_out(aclOpExecutor* executor) {
  c10::impl::ExcludeDispatchKeyGuard no_autograd(c10::autograd_dispatch_keyset);
  int answer = standin_fails(FAULT_OPERATOR) ? ACL_KERNEL_FAILED : ACL_OK;
  try {
    if (answer == ACL_OK) executor->plan();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stand-in: %s\n", error.what());
    answer = FAILED;
  }
  delete executor;
  return answer;
}

template <class T>
int destroy(const T* made) {
  delete made;
  return ACL_OK;
}

}  // namespace

#define ACLNN(name, ...)                                                                         \
  int name(void*, uint64_t, aclOpExecutor* executor, void*) { return carry_out(executor); }      \
  int name##GetWorkspaceSize(__VA_ARGS__, uint64_t* workspace, aclOpExecutor** executor)
#define PLAN(...) return plan(workspace, executor, [=] { __VA_ARGS__; })

extern "C" {

aclTensor* aclCreateTensor(const int64_t* sizes, uint64_t dims, int type, const int64_t* strides, int64_t offset, int,
                           const int64_t*, uint64_t, void* data) {
  const auto dtype = type_of(type);
  char* first = static_cast<char*>(data) + offset * static_cast<int64_t>(c10::elementSize(dtype));
  return new aclTensor{
      at::from_blob(first, at::IntArrayRef(sizes, dims), at::IntArrayRef(strides, dims), at::TensorOptions(dtype))};
}

aclScalar* aclCreateScalar(void* value, int type) { return new aclScalar{scalar_of(value, type)}; }
aclIntArray* aclCreateIntArray(const int64_t* v, uint64_t n) { return new aclIntArray{{v, v + n}}; }
aclFloatArray* aclCreateFloatArray(const float* v, uint64_t n) { return new aclFloatArray{{v, v + n}}; }
aclBoolArray* aclCreateBoolArray(const bool* v, uint64_t n) { return new aclBoolArray{std::vector<bool>(v, v + n)}; }
aclTensorList* aclCreateTensorList(const aclTensor* const* v, uint64_t n) { return new aclTensorList{{v, v + n}}; }
aclScalarList* aclCreateScalarList(const aclScalar* const* v, uint64_t n) { return new aclScalarList{{v, v + n}}; }
int aclDestroyTensor(const aclTensor* t) { return destroy(t); }
int aclDestroyScalar(const aclScalar* t) { return destroy(t); }
int aclDestroyIntArray(const aclIntArray* t) { return destroy(t); }
int aclDestroyFloatArray(const aclFloatArray* t) { return destroy(t); }
int aclDestroyBoolArray(const aclBoolArray* t) { return destroy(t); }
int aclDestroyTensorList(const aclTensorList* t) { return destroy(t); }
int aclDestroyScalarList(const aclScalarList* t) { return destroy(t); }

ACLNN(aclnnMatmul, const aclTensor* a, const aclTensor* b, aclTensor* out, int8_t) {
  auto x = a->value, y = b->value, z = out->value;
  PLAN(z.copy_(at::matmul(x, y)));
}
ACLNN(aclnnMm, const aclTensor* a, const aclTensor* b, aclTensor* out, int8_t) {
  auto x = a->value, y = b->value, z = out->value;
  PLAN(z.copy_(at::mm(x, y)));
}
ACLNN(aclnnBatchMatMul, const aclTensor* a, const aclTensor* b, aclTensor* out, int8_t) {
  auto x = a->value, y = b->value, z = out->value;
  PLAN(z.copy_(at::bmm(x, y)));
}
ACLNN(aclnnMul, const aclTensor* a, const aclTensor* b, aclTensor* out) {
  auto x = a->value, y = b->value, z = out->value;
  PLAN(z.copy_(at::mul(x, y)));
}
ACLNN(aclnnReduceSum, const aclTensor* a, const aclIntArray* dims, bool keep, int, aclTensor* out) {
  auto x = a->value, z = out->value;
  auto over = dims->value;
  PLAN(z.copy_(at::sum(x, over, keep)));
}
ACLNN(aclnnConstantPadNd, const aclTensor* a, const aclIntArray* by, const aclScalar* with, aclTensor* out) {
  auto x = a->value, z = out->value;
  auto padding = by->value;
  auto value = with->value;
  PLAN(z.copy_(at::constant_pad_nd(x, padding, value)));
}
ACLNN(aclnnInplaceCopy, aclTensor* to, const aclTensor* from) {
  auto x = to->value, y = from->value;
  PLAN(x.copy_(y));
}
ACLNN(aclnnCast, const aclTensor* from, int, aclTensor* to) {
  auto x = from->value, y = to->value;
  PLAN(y.copy_(x));
}
ACLNN(aclnnInplaceZero, aclTensor* to) {
  auto x = to->value;
  PLAN(x.zero_());
}
ACLNN(aclnnInplaceFillScalar, aclTensor* to, const aclScalar* with) {
  auto x = to->value;
  auto value = with->value;
  PLAN(x.fill_(value));
}

}  // extern "C"

// Every aten kernel that torch_npu registers, computed by the processor's kernel over the same bytes: the stand-in's
// device memory is the host's, so an input is only looked at under another name and nothing is copied.
//
//   a kernel is missing   where torch_npu registers none: its own fall-back, or its refusal, then answers
//   random numbers        a seed is drawn from the device's own generator, whose offset moves on
//   saturation            a float16 result that is not finite though its inputs were is clamped, and the flag rises
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <torch/library.h>

#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "standin.h"

namespace {

using at::Tensor;
using c10::IValue;
using Stack = torch::jit::Stack;

constexpr auto NPU = c10::DeviceType::PrivateUse1;
const c10::DispatchKeySet PROCESSOR(c10::DispatchKey::CPU);
long calls = 0;

// The same tensor as the processor sees it; the storage lives as long as this view of it.
Tensor on_host(const Tensor& t) {
  auto* owner = new c10::Storage(t.storage());
  c10::DataPtr bytes(const_cast<void*>(owner->data()), owner,
                     [](void* p) { delete static_cast<c10::Storage*>(p); }, c10::Device(c10::kCPU));
  c10::Storage storage(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), owner->nbytes(), std::move(bytes), c10::GetAllocator(c10::kCPU), true));
  Tensor seen = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), PROCESSOR, t.dtype());
  seen.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
  if (t.is_conj()) seen._set_conj(true);
  if (t.is_neg()) seen._set_neg(true);
  return seen;
}

// One call: which tensors went in, and which host views stood for them.
class Call {
 public:
  c10::optional<c10::Device> device;

  Tensor in(const Tensor& t) {
    if (!t.defined() || t.device().type() != NPU) return t;
    if (!device || device->index() < 0) device = t.device();
    inputs_.push_back({t, on_host(t)});
    inputs_.back().bytes = inputs_.back().host.storage().data();
    return inputs_.back().host;
  }

  // The device's tensor for a result: an input itself, a view of one, or new memory.
  Tensor out(const Tensor& t) {
    if (!t.defined() || t.device().type() != c10::kCPU) return t;
    for (auto& input : inputs_)
      if (input.host.is_same(t)) return input.device;
    if (t.has_storage() && t.storage().nbytes())
      for (auto& input : inputs_)
        if (t.storage().data() == input.bytes && t.dtype() == input.device.dtype())
          return at::as_strided(input.device, t.sizes(), t.strides(), t.storage_offset());
    if (!device) return t;
    Tensor whole = t.is_non_overlapping_and_dense() ? t : t.contiguous();
    Tensor made = at::empty_strided(whole.sizes(), whole.strides(),
                                    whole.options().device(*device).pinned_memory(false));
    on_host(made).copy_(whole);
    return made;
  }

  // What an operation did to the shapes of its `out=` tensors.
  void follow_shapes() {
    for (auto& input : inputs_) {
      const Tensor& host = input.host;
      auto* impl = input.device.unsafeGetTensorImpl();
      if (host.storage().data() == input.bytes) {
        if (host.sizes() != input.device.sizes() || host.strides() != input.device.strides())
          impl->set_sizes_and_strides(host.sizes(), host.strides(), host.storage_offset());
        continue;
      }
      input.device.resize_(host.sizes());
      impl->set_sizes_and_strides(host.sizes(), host.strides(), 0);
      on_host(input.device).copy_(host);
    }
  }

  // Clamps what a saturating chip would; an Inf that was an input already is no overflow of this operation.
  void saturate(const std::vector<Tensor>& results) {
    for (const Tensor& result : results) {
      if (!result.defined() || result.scalar_type() != at::kHalf || !result.numel() || finite(result)) continue;
      bool handed_in = false;
      for (auto& input : inputs_) handed_in |= !same_bytes(input.host, result) && !finite(input.host);
      if (handed_in) continue;
      standin_raise_overflow();
      result.copy_(at::nan_to_num(result, 0.0, 65504.0, -65504.0));
    }
  }

 private:
  struct Input {
    Tensor device, host;
    const void* bytes = nullptr;
  };
  std::vector<Input> inputs_;

  static bool finite(const Tensor& t) {
    return !t.is_floating_point() || !t.numel() || at::isfinite(t).all().item<bool>();
  }
  static bool same_bytes(const Tensor& a, const Tensor& b) { return a.data_ptr() == b.data_ptr(); }
};

// Applies `f` to every tensor of a value.
template <class F>
IValue each(const IValue& value, F f) {
  if (value.isTensor()) return f(value.toTensor());
  if (value.isTensorList()) {
    c10::List<Tensor> all;
    for (const Tensor& t : value.toTensorVector()) all.push_back(f(t));
    return all;
  }
  if (value.isOptionalTensorList()) {
    c10::List<c10::optional<Tensor>> all;
    for (const c10::optional<Tensor>& t : value.toOptionalTensorVector())
      all.push_back(t ? c10::optional<Tensor>(f(*t)) : t);
    return all;
  }
  return value;
}

// A seed for one operation, as the device's generator would advance (the mixing is splitmix64's).
uint64_t draw(at::Generator generator) {
  std::lock_guard<std::mutex> lock(generator.mutex());
  uint64_t offset = generator.get_offset();
  generator.set_offset(offset + 4);
  uint64_t z = generator.current_seed() + 0x9E3779B97F4A7C15ull * (offset / 4 + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// Runs an operation that draws numbers: with a generator of the processor made from the device's.
void run_seeded(const c10::OperatorHandle& op, Stack* stack, IValue* argument, c10::Device device) {
  at::Generator generator;
  if (argument && argument->isGenerator()) generator = argument->toGenerator();
  if (generator.defined() && generator.device().type() == c10::kCPU) return op.redispatchBoxed(PROCESSOR, stack);
  if (!generator.defined()) generator = at::globalContext().defaultGenerator(device);
  const uint64_t seed = draw(generator);
  if (argument) {
    *argument = at::detail::createCPUGenerator(seed);
    return op.redispatchBoxed(PROCESSOR, stack);
  }
  auto processors = at::detail::getDefaultCPUGenerator();
  Tensor before;
  {
    std::lock_guard<std::mutex> lock(processors.mutex());
    before = processors.get_state();
    processors.set_current_seed(seed);
  }
  op.redispatchBoxed(PROCESSOR, stack);
  std::lock_guard<std::mutex> lock(processors.mutex());
  processors.set_state(before);
}

// Waits until torch_npu's launch queue is empty: collectives run on its thread, and this reads what they write.
void drain() {
  if (auto* guard = c10::impl::getDeviceGuardImpl(NPU)) guard->synchronizeStream(guard->getStream(guard->getDevice()));
}

void kernel(const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  calls++;
  drain();
  const auto& arguments = op.schema().arguments();
  const size_t base = stack->size() - arguments.size();
  Call call;
  IValue* generator = nullptr;
  std::vector<Tensor> written;  // in place
  for (size_t i = 0; i < arguments.size(); i++) {
    IValue& value = (*stack)[base + i];
    const bool writes = arguments[i].alias_info() && arguments[i].alias_info()->isWrite();
    value = each(value, [&](const Tensor& t) {
      Tensor seen = call.in(t);
      if (writes) written.push_back(seen);
      return seen;
    });
    if (value.isDevice() && value.toDevice().type() == NPU) {
      if (!call.device) call.device = value.toDevice();
      value = c10::Device(c10::kCPU);
    }
    if (value.isGenerator() || arguments[i].type()->str() == "Generator?") generator = &value;
  }
  if (call.device && call.device->index() < 0) call.device = c10::impl::VirtualGuardImpl(NPU).getDevice();

  // The processor counts no whole numbers; the chips do.
  c10::optional<at::ScalarType> whole;
  IValue& first = (*stack)[base];
  if (op.schema().name() == "aten::histc" && at::isIntegralType(first.toTensor().scalar_type(), true)) {
    whole = first.toTensor().scalar_type();
    first = first.toTensor().to(at::kFloat);
  }
  if ((op.hasTag(at::Tag::nondeterministic_seeded) || generator) && call.device)
    run_seeded(op, stack, generator, *call.device);
  else
    op.redispatchBoxed(PROCESSOR, stack);
  if (whole) stack->back() = stack->back().toTensor().to(*whole);

  const size_t results = stack->size() - op.schema().returns().size();
  if (standin_saturates()) {
    for (size_t i = results; i < stack->size(); i++)
      each((*stack)[i], [&](const Tensor& t) { return written.push_back(t), t; });
    call.saturate(written);
  }
  call.follow_shapes();
  for (size_t i = results; i < stack->size(); i++)
    (*stack)[i] = each((*stack)[i], [&](const Tensor& t) { return call.out(t); });
}

// Storage and geometry stay torch_npu's own.
const std::set<std::string> OWN = {
    "empty", "empty_like", "empty_strided", "empty_with_format", "empty_with_swapped_memory", "new_empty_strided",
    "as_strided", "as_strided_", "_reshape_alias", "view", "view_as_real", "view_as_complex", "unfold", "alias", "set_",
    "resize_", "resize_as_", "is_pinned", "is_set_to", "_pin_memory", "record_stream", "_lazy_clone",
    "_local_scalar_dense", "_to_copy", "_fused_sdp_choice", "contiguous"};

bool on_processor(const c10::OperatorHandle& op) {
  using c10::DispatchKey;
  for (auto key : {DispatchKey::CPU, DispatchKey::CompositeImplicitAutograd, DispatchKey::CompositeExplicitAutograd,
                   DispatchKey::CompositeExplicitAutogradNonFunctional})
    if (op.hasKernelForDispatchKey(key)) return true;
  return false;
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  auto& dispatcher = c10::Dispatcher::singleton();
  for (auto& name : dispatcher.getRegistrationsForDispatchKey(c10::DispatchKey::PrivateUse1)) {
    if (name.name.rfind("aten::", 0) != 0) continue;
    const std::string bare = name.name.substr(6);
    auto op = dispatcher.findSchema(name);
    if (OWN.count(bare) || !op || !op->hasKernelForDispatchKey(c10::DispatchKey::PrivateUse1) || !on_processor(*op))
      continue;
    // torch_npu's own reads the overflow flag.
    if (bare == "_amp_foreach_non_finite_check_and_unscale_" && standin_saturates()) continue;
    const std::string full = bare + (name.overload_name.empty() ? "" : "." + name.overload_name);
    m.impl(full.c_str(), torch::CppFunction::makeFromBoxedFunction<&kernel>());
  }
}

extern "C" long standin_calls() { return calls; }

"""Arrays of the host that other libraries take for a GPU's (DLPack)."""

import ctypes

pointer = ctypes.pythonapi.PyCapsule_GetPointer
pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class GpuArray:
    """values: its numbers, of NumPy or torch. number: of the GPU. streams: those that were asked to wait."""

    def __init__(self, values, number=0):
        self.values, self.number, self.streams = values, number, []

    def __dlpack_device__(self):
        return 2, self.number

    def __dlpack__(self, *, stream=None, **_):
        self.streams.append(stream)
        capsule = self.values.__dlpack__()
        for place, value in zip((8, 12), self.__dlpack_device__()):  # behind the address in `DLTensor`
            ctypes.c_int32.from_address(pointer(capsule, b"dltensor") + place).value = value
        return capsule

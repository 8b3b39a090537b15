"""Server reflection: protobuf descriptors of the services that are offered, made from Envoy's dataclasses.

The dataclasses carry no descriptors, so those are made here, for the messages that the services reach: same packages,
names, numbers and types, hence the same wire. Not kept are comments, options and the split into files: there is one
per package. Source: gRPC's "Server Reflection Protocol".
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import betterproto2
import grpc
from betterproto2 import TYPE_ENUM, TYPE_MAP, TYPE_MESSAGE, FieldMetadata
from google.protobuf import any_pb2, descriptor_pool, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MessageOptions,
)
from grpc_reflection.v1alpha import reflection, reflection_pb2

_WELL_KNOWN = {
    name: module.DESCRIPTOR
    for module in (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
    for name in module.DESCRIPTOR.message_types_by_name
}


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service: the dataclasses that go in and out, and whether each is a stream."""

    request: type[betterproto2.Message]
    response: type[betterproto2.Message]
    streams: tuple[bool, bool] = (True, True)


Services = Mapping[str, Mapping[str, Method]]


def reflect(services: Services, others: Iterable[str], server: grpc.aio.Server) -> None:
    """Turns reflection on. ``others`` are services whose descriptors are registered already (health)."""
    pool = descriptor_pool.DescriptorPool()
    default = descriptor_pool.Default()
    for file in {default.FindFileContainingSymbol(other) for other in others}:
        pool.AddSerializedFile(file.serialized_pb)
    for proto in file_descriptors(services):
        pool.AddSerializedFile(proto.SerializeToString())
    pool.AddSerializedFile(reflection_pb2.DESCRIPTOR.serialized_pb)
    names = [*services, *others, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server, pool)


def file_descriptors(services: Services) -> list[FileDescriptorProto]:
    """A file for each package that ``services`` reach, in an order in which a pool takes them."""
    files = _Files()
    for service, methods in services.items():
        package, _, name = service.rpartition(".")
        made = files.of(package).proto.service.add(name=name)
        for method, shape in methods.items():
            made.method.add(
                name=method,
                input_type=files.message(shape.request, package),
                output_type=files.message(shape.response, package),
                client_streaming=shape.streams[0],
                server_streaming=shape.streams[1],
            )
    return files.ordered()


@dataclass
class _File:
    proto: FileDescriptorProto
    messages: dict[str, DescriptorProto] = field(default_factory=dict)
    enums: dict[str, EnumDescriptorProto] = field(default_factory=dict)
    values: set[str] = field(default_factory=set)


class _Files:
    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._well_known: dict[str, FileDescriptorProto] = {}

    def of(self, package: str) -> _File:
        if package not in self._files:
            proto = FileDescriptorProto(name=f"{package.replace('.', '/')}.proto", package=package, syntax="proto3")
            self._files[package] = _File(proto)
        return self._files[package]

    def ordered(self) -> list[FileDescriptorProto]:
        """What a file depends on comes before it."""
        by_name = {file.proto.name: file.proto for file in self._files.values()} | self._well_known
        ordered: dict[str, FileDescriptorProto] = {}

        def add(name: str) -> None:
            for needed in by_name[name].dependency:
                if needed not in ordered:
                    add(needed)
            ordered[name] = by_name[name]

        for name in by_name:
            if name not in ordered:
                add(name)
        return list(ordered.values())

    def message(self, cls: type[betterproto2.Message], user: str) -> str:
        """The full name of ``cls``, described in its package's file; ``user`` is the package that needs it."""
        package, name = _named(cls)
        if package == "google.protobuf" and name.partition(".")[0] in _WELL_KNOWN:
            file = _WELL_KNOWN[name.partition(".")[0]]
            proto = FileDescriptorProto()
            file.CopyToProto(proto)
            self._well_known[file.name] = proto
            self._depend(user, file.name)
        else:
            self._depend(user, self.of(package).proto.name)
            self._describe(cls, package, name)
        return f".{package}.{name}"

    def _depend(self, user: str, file: str) -> None:
        proto = self.of(user).proto
        if file != proto.name and file not in proto.dependency:
            proto.dependency.append(file)

    def _descriptor(self, package: str, name: str) -> DescriptorProto:
        """The descriptor of a message, in its parent's if it is nested; made empty if it isn't there."""
        file = self.of(package)
        if name not in file.messages:
            parent, _, own = name.rpartition(".")
            owner = self._descriptor(package, parent).nested_type if parent else file.proto.message_type
            file.messages[name] = owner.add(name=own)
        return file.messages[name]

    def _describe(self, cls: type[betterproto2.Message], package: str, name: str) -> None:
        made = self._descriptor(package, name)
        if made.field:
            return
        groups: dict[str, int] = {}
        shape: Any = cls  # a dataclass, though the stubs don't say so
        owners = shape._betterproto.cls_by_field
        metas = {known.name: FieldMetadata.get(known) for known in fields(shape)}
        for own, meta in metas.items():  # first their names and numbers: a message may hold itself
            one = made.field.add(name=own, number=meta.number, label=FieldDescriptorProto.LABEL_OPTIONAL)
            if meta.group:
                if meta.group not in groups:
                    groups[meta.group] = len(groups)
                    made.oneof_decl.add(name=meta.group)
                one.oneof_index = groups[meta.group]
        for one, (own, meta) in zip(made.field, metas.items(), strict=True):
            if meta.repeated or meta.proto_type == TYPE_MAP:
                one.label = FieldDescriptorProto.LABEL_REPEATED
            if meta.proto_type == TYPE_MAP and meta.map_meta is not None:
                entry = made.nested_type.add(
                    name=f"{''.join(part.capitalize() for part in own.split('_'))}Entry",
                    options=MessageOptions(map_entry=True),
                )
                for number, part, kind in zip((1, 2), ("key", "value"), meta.map_meta, strict=True):
                    inner = entry.field.add(name=part, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
                    self._typed(inner, kind, owners.get(f"{own}.{part}"), package)
                one.type = FieldDescriptorProto.TYPE_MESSAGE
                one.type_name = f".{package}.{name}.{entry.name}"
            else:
                self._typed(one, meta, owners[own], package)

    def _typed(self, one: FieldDescriptorProto, meta: FieldMetadata, cls: Any, package: str) -> None:
        one.type = FieldDescriptorProto.Type.Value(f"TYPE_{meta.proto_type.upper()}")
        if meta.proto_type == TYPE_MESSAGE:
            one.type_name = self.message(meta.unwrap() if meta.unwrap else cls, package)
        elif meta.proto_type == TYPE_ENUM:
            one.type_name = self._enum(cls, package)

    def _enum(self, cls: type[betterproto2.Enum], user: str) -> str:
        """Stands at the top of its package, whatever message it belongs to in Envoy's own files."""
        package = _package(cls)
        file = self.of(package)
        self._depend(user, file.proto.name)
        if cls.__name__ not in file.enums:
            made = file.enums[cls.__name__] = file.proto.enum_type.add(name=cls.__name__)
            for value in cls:
                # Values of all enums of a package share one namespace.
                name = value.name if value.name not in file.values else f"{cls.__name__}_{value.name}"
                file.values.add(name)
                made.value.add(name=name, number=int(value))
        return f".{package}.{cls.__name__}"


def _named(cls: type[betterproto2.Message]) -> tuple[str, str]:
    package = _package(cls)
    url = sys.modules[cls.__module__].default_message_pool.type_to_url[cls]
    return package, url.rpartition("/")[2].removeprefix(f"{package}.")


def _package(cls: type) -> str:
    return cls.__module__.removeprefix("envoy_data_plane.")

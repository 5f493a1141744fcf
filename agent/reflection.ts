import { status } from "@grpc/grpc-js";
import { type DescribedFile, describedFiles } from "../proto/gen/descriptors.ts";
import {
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  type ServerReflectionServer,
  ServerReflectionService,
} from "../proto/gen/grpc/reflection/v1/reflection.ts";

type Answer = ServerReflectionResponse["messageResponse"];

/** gRPC's reflection protocol, from the descriptors that generation left: no parser of .proto files is in memory for it. */
export function serveReflection(services: readonly string[]): ServerReflectionServer {
  return {
    serverReflectionInfo: (call) => {
      call.on("data", (request: ServerReflectionRequest) => {
        call.write({ validHost: request.host, originalRequest: request, messageResponse: answer(request, services) });
      });
      call.on("end", () => call.end());
    },
  };
}

/** The same under its older name, which some tools still ask for; the messages did not change. */
export const olderReflectionService = {
  serverReflectionInfo: {
    ...ServerReflectionService.serverReflectionInfo,
    path: ServerReflectionService.serverReflectionInfo.path.replace(".v1.", ".v1alpha."),
  },
};

function answer({ messageRequest }: ServerReflectionRequest, services: readonly string[]): Answer {
  switch (messageRequest?.$case) {
    case "listServices":
      return { $case: "listServicesResponse", value: { service: services.map((name) => ({ name })) } };
    case "fileByFilename":
      return describe(messageRequest.value, ({ name }) => name === messageRequest.value);
    case "fileContainingSymbol":
      return describe(messageRequest.value, ({ symbols }) => symbols.includes(messageRequest.value));
    case "fileContainingExtension":
      return fail(status.NOT_FOUND, "No message here has extensions.");
    case "allExtensionNumbersOfType":
      return { $case: "allExtensionNumbersResponse", value: { baseTypeName: messageRequest.value, extensionNumber: [] } };
    case undefined:
      return fail(status.INVALID_ARGUMENT, "The request asks nothing.");
  }
}

/** The file that was asked for and all that it needs: those before it, as none comes before what it imports. */
function describe(asked: string, isIt: (file: DescribedFile) => boolean): Answer {
  const at = describedFiles.findIndex(isIt);
  if (at < 0) return fail(status.NOT_FOUND, `${JSON.stringify(asked.slice(0, 200))} is not known here.`);
  const files = describedFiles.slice(0, at + 1).toReversed();
  return {
    $case: "fileDescriptorResponse",
    value: { fileDescriptorProto: files.map(({ descriptor }) => Buffer.from(descriptor, "base64")) },
  };
}

const fail = (errorCode: status, errorMessage: string): Answer => ({ $case: "errorResponse", value: { errorCode, errorMessage } });

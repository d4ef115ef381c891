package weft.examples;

import com.google.protobuf.ByteString;
import corpus.v1.Corpus.AnalyzeRequest;
import corpus.v1.Corpus.AnalyzeResponse;
import corpus.v1.CorpusServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Calls a method that an agent in Python hosts, with a stock generated client: durably, and directly.
 *
 * <pre>
 *   weft up &
 *   java -cp 'target/examples.jar:target/lib/*' weft.examples.Client 127.0.0.1:7700 some_file.py
 * </pre>
 */
public final class Client {
  public static void main(String[] args) throws Exception {
    if (args.length != 2) {
      throw new IllegalArgumentException("usage: Client HOST:PORT FILE");
    }
    Path file = Path.of(args[1]);
    AnalyzeRequest request =
        AnalyzeRequest.newBuilder()
            .setFileName(file.getFileName().toString())
            .setSource(ByteString.copyFrom(Files.readAllBytes(file)))
            .build();
    var channel = Grpc.newChannelBuilder(args[0], InsecureChannelCredentials.create()).build();
    try {
      for (String mode : new String[] {"durable", "direct"}) {
        var headers = new Metadata();
        headers.put(key("weft-mode"), mode);
        var trailers = new AtomicReference<Metadata>();
        AnalyzeResponse response =
            CorpusServiceGrpc.newBlockingStub(channel)
                .withInterceptors(
                    MetadataUtils.newAttachHeadersInterceptor(headers),
                    MetadataUtils.newCaptureMetadataInterceptor(new AtomicReference<>(), trailers))
                .withDeadlineAfter(30, TimeUnit.SECONDS)
                .analyze(request);
        System.out.printf(
            "%s: %s has %d lines and %d functions, says agent [%s], task [%s]%n",
            mode,
            response.getFileName(),
            response.getLines().getTotal(),
            response.getFunctionsCount(),
            text(trailers.get(), "weft-agent"),
            text(trailers.get(), "weft-task-id"));
      }
    } finally {
      channel.shutdownNow();
    }
  }

  private static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  private static String text(Metadata metadata, String name) {
    String value = metadata.get(key(name));
    return value == null ? "" : value;
  }
}

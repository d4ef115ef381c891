package weft.examples;

import com.google.protobuf.ByteString;
import corpus.v1.Corpus.AnalyzeRequest;
import corpus.v1.CorpusServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/** Calls a method that an agent in Python hosts, with a stock generated client: durably, and directly. */
public final class Client {
  public static void main(String[] args) throws Exception {
    if (args.length != 2) throw new IllegalArgumentException("usage: Client HOST:PORT FILE");
    var file = Path.of(args[1]);
    var source = ByteString.copyFrom(Files.readAllBytes(file));
    var request = AnalyzeRequest.newBuilder().setFileName(file.getFileName().toString()).setSource(source).build();
    var channel = Grpc.newChannelBuilder(args[0], InsecureChannelCredentials.create()).build();
    for (var mode : new String[] {"durable", "direct"}) {
      var headers = new Metadata();
      headers.put(key("weft-mode"), mode);
      var trailers = new AtomicReference<Metadata>();
      var attach = MetadataUtils.newAttachHeadersInterceptor(headers);
      var capture = MetadataUtils.newCaptureMetadataInterceptor(new AtomicReference<>(), trailers);
      var corpus = CorpusServiceGrpc.newBlockingStub(channel).withInterceptors(attach, capture);
      var response = corpus.withDeadlineAfter(30, TimeUnit.SECONDS).analyze(request);
      var agent = Objects.toString(trailers.get().get(key("weft-agent")), "");
      var task = Objects.toString(trailers.get().get(key("weft-task-id")), "");
      System.out.printf("%s: %s has %d lines and %d functions, says agent [%s], task [%s]%n", mode,
          response.getFileName(), response.getLines().getTotal(), response.getFunctionsCount(), agent, task);
    }
    channel.shutdownNow();
  }

  private static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}

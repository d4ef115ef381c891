package corpus.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Analyses source files, one per call. It parses what it is given and never runs it.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class CorpusServiceGrpc {

  private CorpusServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "corpus.v1.CorpusService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<corpus.v1.Corpus.AnalyzeRequest,
      corpus.v1.Corpus.AnalyzeResponse> getAnalyzeMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Analyze",
      requestType = corpus.v1.Corpus.AnalyzeRequest.class,
      responseType = corpus.v1.Corpus.AnalyzeResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<corpus.v1.Corpus.AnalyzeRequest,
      corpus.v1.Corpus.AnalyzeResponse> getAnalyzeMethod() {
    io.grpc.MethodDescriptor<corpus.v1.Corpus.AnalyzeRequest, corpus.v1.Corpus.AnalyzeResponse> getAnalyzeMethod;
    if ((getAnalyzeMethod = CorpusServiceGrpc.getAnalyzeMethod) == null) {
      synchronized (CorpusServiceGrpc.class) {
        if ((getAnalyzeMethod = CorpusServiceGrpc.getAnalyzeMethod) == null) {
          CorpusServiceGrpc.getAnalyzeMethod = getAnalyzeMethod =
              io.grpc.MethodDescriptor.<corpus.v1.Corpus.AnalyzeRequest, corpus.v1.Corpus.AnalyzeResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Analyze"))
              .setSafe(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  corpus.v1.Corpus.AnalyzeRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  corpus.v1.Corpus.AnalyzeResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CorpusServiceMethodDescriptorSupplier("Analyze"))
              .build();
        }
      }
    }
    return getAnalyzeMethod;
  }

  private static volatile io.grpc.MethodDescriptor<corpus.v1.Corpus.ListFunctionsRequest,
      corpus.v1.Corpus.ListFunctionsResponse> getListFunctionsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListFunctions",
      requestType = corpus.v1.Corpus.ListFunctionsRequest.class,
      responseType = corpus.v1.Corpus.ListFunctionsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<corpus.v1.Corpus.ListFunctionsRequest,
      corpus.v1.Corpus.ListFunctionsResponse> getListFunctionsMethod() {
    io.grpc.MethodDescriptor<corpus.v1.Corpus.ListFunctionsRequest, corpus.v1.Corpus.ListFunctionsResponse> getListFunctionsMethod;
    if ((getListFunctionsMethod = CorpusServiceGrpc.getListFunctionsMethod) == null) {
      synchronized (CorpusServiceGrpc.class) {
        if ((getListFunctionsMethod = CorpusServiceGrpc.getListFunctionsMethod) == null) {
          CorpusServiceGrpc.getListFunctionsMethod = getListFunctionsMethod =
              io.grpc.MethodDescriptor.<corpus.v1.Corpus.ListFunctionsRequest, corpus.v1.Corpus.ListFunctionsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListFunctions"))
              .setSafe(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  corpus.v1.Corpus.ListFunctionsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  corpus.v1.Corpus.ListFunctionsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new CorpusServiceMethodDescriptorSupplier("ListFunctions"))
              .build();
        }
      }
    }
    return getListFunctionsMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static CorpusServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<CorpusServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<CorpusServiceStub>() {
        @java.lang.Override
        public CorpusServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new CorpusServiceStub(channel, callOptions);
        }
      };
    return CorpusServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static CorpusServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<CorpusServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<CorpusServiceBlockingV2Stub>() {
        @java.lang.Override
        public CorpusServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new CorpusServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return CorpusServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static CorpusServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<CorpusServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<CorpusServiceBlockingStub>() {
        @java.lang.Override
        public CorpusServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new CorpusServiceBlockingStub(channel, callOptions);
        }
      };
    return CorpusServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static CorpusServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<CorpusServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<CorpusServiceFutureStub>() {
        @java.lang.Override
        public CorpusServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new CorpusServiceFutureStub(channel, callOptions);
        }
      };
    return CorpusServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Analyses source files, one per call. It parses what it is given and never runs it.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Measures one file. A file that does not parse is a finding, not a failure: the response says where and why.
     * Errors: INVALID_ARGUMENT when the request has no file name, with BadRequest details.
     * </pre>
     */
    default void analyze(corpus.v1.Corpus.AnalyzeRequest request,
        io.grpc.stub.StreamObserver<corpus.v1.Corpus.AnalyzeResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getAnalyzeMethod(), responseObserver);
    }

    /**
     * <pre>
     * Sends the functions of one file, one by one, in the order of the source.
     * Errors: INVALID_ARGUMENT when the request has no file name, or when the source does not decode or does not
     * parse; BadRequest details name the field.
     * </pre>
     */
    default void listFunctions(corpus.v1.Corpus.ListFunctionsRequest request,
        io.grpc.stub.StreamObserver<corpus.v1.Corpus.ListFunctionsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListFunctionsMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service CorpusService.
   * <pre>
   * Analyses source files, one per call. It parses what it is given and never runs it.
   * </pre>
   */
  public static abstract class CorpusServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return CorpusServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service CorpusService.
   * <pre>
   * Analyses source files, one per call. It parses what it is given and never runs it.
   * </pre>
   */
  public static final class CorpusServiceStub
      extends io.grpc.stub.AbstractAsyncStub<CorpusServiceStub> {
    private CorpusServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected CorpusServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new CorpusServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Measures one file. A file that does not parse is a finding, not a failure: the response says where and why.
     * Errors: INVALID_ARGUMENT when the request has no file name, with BadRequest details.
     * </pre>
     */
    public void analyze(corpus.v1.Corpus.AnalyzeRequest request,
        io.grpc.stub.StreamObserver<corpus.v1.Corpus.AnalyzeResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getAnalyzeMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Sends the functions of one file, one by one, in the order of the source.
     * Errors: INVALID_ARGUMENT when the request has no file name, or when the source does not decode or does not
     * parse; BadRequest details name the field.
     * </pre>
     */
    public void listFunctions(corpus.v1.Corpus.ListFunctionsRequest request,
        io.grpc.stub.StreamObserver<corpus.v1.Corpus.ListFunctionsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getListFunctionsMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service CorpusService.
   * <pre>
   * Analyses source files, one per call. It parses what it is given and never runs it.
   * </pre>
   */
  public static final class CorpusServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<CorpusServiceBlockingV2Stub> {
    private CorpusServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected CorpusServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new CorpusServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Measures one file. A file that does not parse is a finding, not a failure: the response says where and why.
     * Errors: INVALID_ARGUMENT when the request has no file name, with BadRequest details.
     * </pre>
     */
    public corpus.v1.Corpus.AnalyzeResponse analyze(corpus.v1.Corpus.AnalyzeRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getAnalyzeMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Sends the functions of one file, one by one, in the order of the source.
     * Errors: INVALID_ARGUMENT when the request has no file name, or when the source does not decode or does not
     * parse; BadRequest details name the field.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, corpus.v1.Corpus.ListFunctionsResponse>
        listFunctions(corpus.v1.Corpus.ListFunctionsRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getListFunctionsMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service CorpusService.
   * <pre>
   * Analyses source files, one per call. It parses what it is given and never runs it.
   * </pre>
   */
  public static final class CorpusServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<CorpusServiceBlockingStub> {
    private CorpusServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected CorpusServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new CorpusServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Measures one file. A file that does not parse is a finding, not a failure: the response says where and why.
     * Errors: INVALID_ARGUMENT when the request has no file name, with BadRequest details.
     * </pre>
     */
    public corpus.v1.Corpus.AnalyzeResponse analyze(corpus.v1.Corpus.AnalyzeRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getAnalyzeMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Sends the functions of one file, one by one, in the order of the source.
     * Errors: INVALID_ARGUMENT when the request has no file name, or when the source does not decode or does not
     * parse; BadRequest details name the field.
     * </pre>
     */
    public java.util.Iterator<corpus.v1.Corpus.ListFunctionsResponse> listFunctions(
        corpus.v1.Corpus.ListFunctionsRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getListFunctionsMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service CorpusService.
   * <pre>
   * Analyses source files, one per call. It parses what it is given and never runs it.
   * </pre>
   */
  public static final class CorpusServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<CorpusServiceFutureStub> {
    private CorpusServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected CorpusServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new CorpusServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Measures one file. A file that does not parse is a finding, not a failure: the response says where and why.
     * Errors: INVALID_ARGUMENT when the request has no file name, with BadRequest details.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<corpus.v1.Corpus.AnalyzeResponse> analyze(
        corpus.v1.Corpus.AnalyzeRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getAnalyzeMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_ANALYZE = 0;
  private static final int METHODID_LIST_FUNCTIONS = 1;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_ANALYZE:
          serviceImpl.analyze((corpus.v1.Corpus.AnalyzeRequest) request,
              (io.grpc.stub.StreamObserver<corpus.v1.Corpus.AnalyzeResponse>) responseObserver);
          break;
        case METHODID_LIST_FUNCTIONS:
          serviceImpl.listFunctions((corpus.v1.Corpus.ListFunctionsRequest) request,
              (io.grpc.stub.StreamObserver<corpus.v1.Corpus.ListFunctionsResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getAnalyzeMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              corpus.v1.Corpus.AnalyzeRequest,
              corpus.v1.Corpus.AnalyzeResponse>(
                service, METHODID_ANALYZE)))
        .addMethod(
          getListFunctionsMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              corpus.v1.Corpus.ListFunctionsRequest,
              corpus.v1.Corpus.ListFunctionsResponse>(
                service, METHODID_LIST_FUNCTIONS)))
        .build();
  }

  private static abstract class CorpusServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    CorpusServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return corpus.v1.Corpus.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("CorpusService");
    }
  }

  private static final class CorpusServiceFileDescriptorSupplier
      extends CorpusServiceBaseDescriptorSupplier {
    CorpusServiceFileDescriptorSupplier() {}
  }

  private static final class CorpusServiceMethodDescriptorSupplier
      extends CorpusServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    CorpusServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (CorpusServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new CorpusServiceFileDescriptorSupplier())
              .addMethod(getAnalyzeMethod())
              .addMethod(getListFunctionsMethod())
              .build();
        }
      }
    }
    return result;
  }
}

<#
.SYNOPSIS
    Calling conventions of the Hyper-V WMI provider: methods, jobs, embedded instances, object paths, WQL literals.
.DESCRIPTION
    Source: hyperv.md section 1.9 throughout; other sources stand at each function.
#>
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'Gcb.Protocol.psm1'))

# Return value 4096: "job started". Source: hyperv.md 1.9, return codes.
$script:JobStarted = 4096
# Msvm_ConcreteJob.JobState. 32768 = completed with warnings. Source: hyperv.md 1.9, jobs.
$script:FinishedJobStates = @(7, 8, 9, 10, 32768)
$script:SucceededJobStates = @(7, 32768)

# A WQL string literal: backslashes and quotes escaped by a backslash. Source: hyperv.md 1.9, WQL literals (bareos).
function Format-GcbWqlLiteral {
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)] [AllowEmptyString()] [string] $Value)
    return "'" + $Value.Replace('\', '\\').Replace("'", "\'") + "'"
}

# A WQL condition "property = 'value'": the only way in which a value gets into a filter.
function Format-GcbFilter {
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z]+$')] [string] $Property,
        [Parameter(Mandatory = $true)] [AllowEmptyString()] [string] $Value
    )
    return $Property + ' = ' + (Format-GcbWqlLiteral -Value $Value)
}

# A property that an object may or may not have (Windows versions differ, hyperv.md 3.3); $null when it does not.
function Get-GcbProperty {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [AllowNull()] [object] $InputObject,
        [Parameter(Mandatory = $true)] [string] $Name
    )
    if ($null -eq $InputObject) { return $null }
    $property = $InputObject.PSObject.Properties[$Name]
    if ($null -eq $property) { return $null }
    return $property.Value
}

# The one instance of a service class. Source: hyperv.md 1.2 (singletons).
function Get-GcbService {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $Namespace,
        [Parameter(Mandatory = $true)] [ValidatePattern('^Msvm_[A-Za-z]+Service$')] [string] $ClassName
    )
    $found = @(Get-CimInstance -Namespace $Namespace -ClassName $ClassName)
    if ($found.Count -ne 1) {
        Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $ClassName -Message "Namespace $Namespace has $($found.Count) instances of $ClassName, expected one." -Remedy 'Check that the Hyper-V role is installed and that the agent runs elevated (UAC filtering hides the classes).'
    }
    return $found[0]
}

# CIM-XML text of an instance, for parameters that take an embedded instance. Source: hyperv.md 1.9 (xHyper).
function ConvertTo-GcbEmbedded {
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)] [ciminstance] $Instance)
    $serializer = [Microsoft.Management.Infrastructure.Serialization.CimSerializer]::Create()
    $none = [Microsoft.Management.Infrastructure.Serialization.InstanceSerializationOptions]::None
    return [System.Text.Encoding]::Unicode.GetString($serializer.Serialize($Instance, $none))
}

# Properties of an embedded instance that came back as CIM-XML: name -> string, or string[] for arrays.
# INFERRED (hyperv.md 1.9, CIM DTD): /INSTANCE/PROPERTY/VALUE and /INSTANCE/PROPERTY.ARRAY/VALUE.ARRAY/VALUE.
function ConvertFrom-GcbEmbedded {
    [CmdletBinding()]
    [OutputType([hashtable])]
    param([Parameter(Mandatory = $true)] [string] $Text)
    $document = New-Object -TypeName System.Xml.XmlDocument
    $document.XmlResolver = $null
    $document.LoadXml($Text)
    $values = @{}
    foreach ($node in $document.SelectNodes('/INSTANCE/PROPERTY')) {
        $value = $node.SelectSingleNode('VALUE')
        $values[$node.GetAttribute('NAME')] = if ($null -eq $value) { $null } else { $value.InnerText }
    }
    foreach ($node in $document.SelectNodes('/INSTANCE/PROPERTY.ARRAY')) {
        $values[$node.GetAttribute('NAME')] = [string[]]@($node.SelectNodes('VALUE.ARRAY/VALUE') | ForEach-Object -Process { $_.InnerText })
    }
    return $values
}

# The path of an instance as WMI writes it. Source: hyperv.md 1.9, object paths (xHyper Get-CimInstancePath).
function Get-GcbObjectPath {
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)] [ciminstance] $Instance)
    $keyFlag = [Microsoft.Management.Infrastructure.CimFlags]::Key
    $pairs = @($Instance.CimInstanceProperties |
            Where-Object -FilterScript { ($_.Flags -band $keyFlag) -eq $keyFlag } |
            ForEach-Object -Process { $_.Name + '="' + ([string]$_.Value).Replace('\', '\\').Replace('"', '\"') + '"' })
    $system = $Instance.CimSystemProperties
    $server = [string]$system.ServerName
    if ($server -eq '') { $server = [System.Environment]::MachineName }
    return '\\' + $server.ToUpperInvariant() + '\' + ([string]$system.Namespace).Replace('/', '\') + ':' + $system.ClassName + '.' + ($pairs -join ',')
}

# The text of everything a failed job says about itself. Source: hyperv.md 1.9, jobs (GetErrorEx gives CIM-XML).
function Get-GcbJobErrorText {
    [CmdletBinding()]
    [OutputType([string])]
    param([Parameter(Mandatory = $true)] [ciminstance] $Job)
    $texts = New-Object -TypeName System.Collections.ArrayList
    foreach ($name in @('ErrorDescription', 'ErrorSummaryDescription', 'JobStatus')) {
        $text = [string](Get-GcbProperty -InputObject $Job -Name $name)
        if ($text -ne '' -and -not $texts.Contains($text)) { [void]$texts.Add($text) }
    }
    try {
        $result = Invoke-CimMethod -InputObject $Job -MethodName GetErrorEx
        foreach ($errorText in @(Get-GcbProperty -InputObject $result -Name 'Errors')) {
            if ([string]$errorText -ne '') { [void]$texts.Add([string]$errorText) }
        }
    }
    catch { [void]$texts.Add('GetErrorEx failed: ' + $_.Exception.Message) }
    return ($texts.ToArray() -join ' | ')
}

# Asks a job to stop; says nothing about whether it will, and never fails: the error that led here counts.
# RequestedState 5 = kill. Source: hyperv.md 7 (os-win jobutils).
function Stop-GcbJob {
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)] [ciminstance] $Job)
    try {
        $current = Get-CimInstance -InputObject $Job
        if ($script:FinishedJobStates -contains [int]$current.JobState) { return }
        if ([bool](Get-GcbProperty -InputObject $current -Name 'Cancellable')) {
            [void](Invoke-CimMethod -InputObject $current -MethodName RequestStateChange -Arguments @{ RequestedState = [uint16]5 })
        }
    }
    catch { [Console]::Error.WriteLine('The job could not be asked to stop: ' + $_.Exception.Message) }
}

# Polls a job to its end. $null when it has not ended within the time; a failed job ends the verb.
function Wait-GcbJob {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $Job,
        [Parameter(Mandatory = $true)] [long] $TimeoutMs,
        [Parameter(Mandatory = $true)] [string] $Subject,
        [switch] $AllowFailure
    )
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $pauseMs = 50
    while ($true) {
        # The Job of a method result has only keys: it is read again for every poll. Source: hyperv.md 1.9 (xHyper).
        $current = Get-CimInstance -InputObject $Job
        if ($script:FinishedJobStates -contains [int]$current.JobState) { break }
        $leftMs = $TimeoutMs - $clock.ElapsedMilliseconds
        if ($leftMs -le 0) { return $null }
        Start-Sleep -Milliseconds ([Math]::Min($pauseMs, [Math]::Max(1, $leftMs)))
        $pauseMs = [Math]::Min(500, $pauseMs * 2)
    }
    if (-not $AllowFailure -and -not ($script:SucceededJobStates -contains [int]$current.JobState)) {
        Stop-GcbVerb -Code 'HV_JOB_FAILED' -Subject $Subject -Message "The Hyper-V job for $Subject ended in state $($current.JobState) with error code $($current.ErrorCode)." -JobErrorCode ([long]$current.ErrorCode) -JobErrorText (Get-GcbJobErrorText -Job $current) -Remedy 'Read the job error text and the Hyper-V-VMMS event log of the host.'
    }
    return $current
}

# Calls a method and waits for its job. Gives the method result and the finished job ($null when it ended at once).
function Invoke-GcbMethod {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [ciminstance] $Target,
        [Parameter(Mandatory = $true)] [string] $MethodName,
        [Parameter(Mandatory = $true)] [hashtable] $Arguments,
        [Parameter(Mandatory = $true)] [string] $Subject,
        [long] $TimeoutMs = 900000
    )
    $result = Invoke-CimMethod -InputObject $Target -MethodName $MethodName -Arguments $Arguments
    $returnValue = [long]$result.ReturnValue
    if ($returnValue -eq 0) { return [pscustomobject]@{ result = $result; job = $null } }
    if ($returnValue -ne $script:JobStarted) {
        $code = if ($returnValue -eq 32769) { 'HV_ACCESS_DENIED' } else { 'HV_CALL_FAILED' }
        Stop-GcbVerb -Code $code -Subject $Subject -Message "$MethodName for $Subject returned $returnValue." -WmiReturnValue $returnValue -Remedy 'Look the value up in docs/hyperv-commands.md and read the Hyper-V-VMMS event log of the host.'
    }
    $job = Wait-GcbJob -Job $result.Job -TimeoutMs $TimeoutMs -Subject $Subject
    if ($null -eq $job) {
        Stop-GcbJob -Job $result.Job
        Stop-GcbVerb -Code 'HV_JOB_TIMED_OUT' -Subject $Subject -Message "$MethodName for $Subject did not end within $TimeoutMs ms; its job was asked to stop." -Remedy 'Look at the load of the host and its storage, then try again.'
    }
    return [pscustomobject]@{ result = $result; job = $job }
}

# What a call made: the out parameter after return value 0, the job's affected element after 4096.
# Source: hyperv.md 1.9, result objects; INFERRED for collections.
function Get-GcbResult {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [object] $Outcome,
        [Parameter(Mandatory = $true)] [string] $Parameter,
        [Parameter(Mandatory = $true)] [string] $ClassName
    )
    if ($null -eq $Outcome.job) {
        $reference = Get-GcbProperty -InputObject $Outcome.result -Name $Parameter
        if ($null -eq $reference) { return $null }
        return (Get-CimInstance -InputObject $reference)
    }
    return (Get-CimAssociatedInstance -InputObject $Outcome.job -Association Msvm_AffectedJobElement -ResultClassName $ClassName | Select-Object -First 1)
}

Export-ModuleMember -Function @(
    'Format-GcbWqlLiteral',
    'Format-GcbFilter',
    'Get-GcbProperty',
    'Get-GcbService',
    'ConvertTo-GcbEmbedded',
    'ConvertFrom-GcbEmbedded',
    'Get-GcbObjectPath',
    'Get-GcbJobErrorText',
    'Stop-GcbJob',
    'Wait-GcbJob',
    'Invoke-GcbMethod',
    'Get-GcbResult'
)
